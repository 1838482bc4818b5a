//! What the ruleset does to a packet of ours, as far as it can be told without sending one.
//!
//! Rules are followed like the kernel follows them. A match that this cannot judge (a set, a count, a
//! match of the old iptables) leaves open whether its rule applies.

use serde_json::Value;

use super::{NftError, items, list};

/// A packet, as far as rules usually ask.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// "input", "forward" or "output".
    pub(crate) hook: &'static str,
    pub(crate) is_v4: bool,
    /// The interface that it came in by; what ends with `*` is any that begins so.
    pub(crate) incoming: String,
    /// The interface that it leaves by; empty for one that is received.
    pub(crate) outgoing: String,
    /// UDP destination port; `None` for any packet at all.
    pub(crate) udp_port: Option<u16>,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No chain stops it.
    Passes,
    /// This chain drops it, or its policy does.
    Dropped(String),
    /// This chain drops it unless a rule that cannot be judged says otherwise.
    Unclear(String),
}

/// Judges a packet by the ruleset in force; tables whose names begin with `ours` are left out.
pub(crate) fn fate(packet: &Packet) -> Result<Fate, NftError> {
    Ok(judge(&list(&["list", "ruleset"])?, packet))
}

fn judge(ruleset: &Value, packet: &Packet) -> Fate {
    let mut worst = Fate::Passes;
    for chain in items(ruleset, "chain") {
        let family = chain["family"].as_str().unwrap_or_default();
        let concerned = match family {
            "inet" => true,
            "ip" => packet.is_v4,
            "ip6" => !packet.is_v4,
            _ => false,
        };
        if chain["hook"] != packet.hook || !concerned {
            continue;
        }
        let walk = Walk { ruleset, packet };
        let name = ["family", "table", "name"].map(|key| chain[key].as_str().unwrap_or("?"));
        match walk.base(chain, &name) {
            Fate::Passes => {}
            Fate::Dropped(by) => return Fate::Dropped(by),
            unclear @ Fate::Unclear(_) => worst = unclear,
        }
    }
    worst
}

/// The way of a packet through the chains.
struct Walk<'a> {
    ruleset: &'a Value,
    packet: &'a Packet,
}

/// Where a chain leaves a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Accepted,
    Dropped,
    /// It goes on behind the rule that led here; `true` when a rule that cannot be judged might have
    /// let it pass.
    Continues(bool),
}

/// Chains within chains; the kernel's own limit.
const DEEPEST: usize = 16;

impl Walk<'_> {
    fn base(&self, chain: &Value, name: &[&str; 3]) -> Fate {
        let shown = name.join(" ");
        match self.chain(name, 0) {
            End::Dropped => Fate::Dropped(shown),
            End::Continues(false) if chain["policy"] == "drop" => Fate::Dropped(shown),
            End::Continues(true) if chain["policy"] == "drop" => Fate::Unclear(shown),
            End::Accepted | End::Continues(_) => Fate::Passes,
        }
    }

    fn chain(&self, [family, table, chain]: &[&str; 3], depth: usize) -> End {
        let mut perhaps = false;
        let rules = items(self.ruleset, "rule").filter(|rule| {
            rule["family"] == *family && rule["table"] == *table && rule["chain"] == *chain
        });
        for rule in rules {
            let expression = rule["expr"].as_array().map(Vec::as_slice);
            let expression = expression.unwrap_or_default();
            let applies = self.all_apply(expression);
            if applies == Some(false) {
                continue;
            }
            let end = self.verdict(expression, [family, table], depth);
            match (end, applies) {
                (Some(End::Continues(more)), _) => perhaps |= more,
                (Some(End::Accepted), None) => perhaps = true,
                (Some(end), Some(true)) => return end,
                // That it may be dropped, by a rule for we know not whom, is no finding.
                (Some(_) | None, _) => {}
            }
            if expression.iter().any(|part| part.get("return").is_some()) && applies == Some(true) {
                break;
            }
        }
        End::Continues(perhaps)
    }

    fn verdict(
        &self,
        expression: &[Value],
        [family, table]: [&str; 2],
        depth: usize,
    ) -> Option<End> {
        expression.iter().find_map(|part| {
            if part.get("accept").is_some() {
                return Some(End::Accepted);
            }
            if part.get("drop").is_some() || part.get("reject").is_some() {
                return Some(End::Dropped);
            }
            let target = ["jump", "goto"].iter().find_map(|key| part.get(*key));
            let target = target?["target"].as_str()?;
            (depth < DEEPEST).then(|| self.chain(&[family, table, target], depth + 1))
        })
    }

    /// Whether a rule applies to the packet; `None` when that cannot be told.
    fn all_apply(&self, expression: &[Value]) -> Option<bool> {
        let parts = expression.iter().map(|part| self.applies(part));
        let (no, unknown) = parts.fold((false, false), |(no, unknown), part| {
            (no || part == Some(false), unknown || part.is_none())
        });
        match (no, unknown) {
            (true, _) => Some(false),
            (false, true) => None,
            (false, false) => Some(true),
        }
    }

    /// Whether a part of a rule applies to the packet; `None` when that cannot be told.
    fn applies(&self, part: &Value) -> Option<bool> {
        if part.get("xt").is_some() || part.get("vmap").is_some() {
            return None;
        }
        let Some(matched) = part.get("match") else {
            return if part.get("limit").is_some() {
                None
            } else {
                Some(true)
            };
        };
        let equal = self.equals(&matched["left"], &matched["right"])?;
        match matched["op"].as_str()? {
            "==" | "in" => Some(equal),
            "!=" => Some(!equal),
            _ => None,
        }
    }

    fn equals(&self, left: &Value, right: &Value) -> Option<bool> {
        if let Some(key) = left["meta"]["key"].as_str() {
            return match key {
                "iifname" | "iif" => names(right, &self.packet.incoming),
                "oifname" | "oif" => names(right, &self.packet.outgoing),
                "l4proto" => self.is_udp(right),
                "nfproto" => {
                    let family = if self.packet.is_v4 { "ipv4" } else { "ipv6" };
                    Some(right == family)
                }
                _ => None,
            };
        }
        let payload = &left["payload"];
        match (payload["protocol"].as_str(), payload["field"].as_str()) {
            (Some("udp" | "th"), Some("dport")) => {
                self.packet.udp_port.and_then(|port| has_port(right, port))
            }
            // Any port of any other protocol is none of ours.
            (Some("tcp"), _) => self.packet.udp_port.map(|_| false),
            (Some("ip" | "ip6"), Some("protocol" | "nexthdr")) => self.is_udp(right),
            _ => self.state(left, right),
        }
    }

    fn is_udp(&self, right: &Value) -> Option<bool> {
        self.packet.udp_port?;
        members(right)
            .map(|each| match (each.as_str(), each.as_u64()) {
                (Some(name), _) => Some(name == "udp"),
                (_, Some(number)) => Some(number == 17),
                (None, None) => None,
            })
            .try_fold(false, |any, each| Some(any | each?))
    }

    /// A first packet is new; ours in the tunnel are not tracked at all.
    fn state(&self, left: &Value, right: &Value) -> Option<bool> {
        if left["ct"]["key"] != "state" {
            return None;
        }
        let own = if self.packet.udp_port.is_some() {
            "untracked"
        } else {
            "new"
        };
        Some(members(right).any(|each| each == own))
    }
}

/// The members of a set, or the one value.
fn members(right: &Value) -> impl Iterator<Item = &Value> {
    let set = right["set"].as_array().or_else(|| right.as_array());
    set.map_or(std::slice::from_ref(right), Vec::as_slice)
        .iter()
}

/// Whether an interface is among the names; a name may end with `*`.
fn names(right: &Value, interface: &str) -> Option<bool> {
    members(right)
        .map(|each| {
            let name = each.as_str()?;
            let (ours, any_of_ours) = match interface.strip_suffix('*') {
                Some(prefix) => (prefix, true),
                None => (interface, false),
            };
            Some(match name.strip_suffix('*') {
                Some(prefix) => ours.starts_with(prefix),
                None => name == ours && !any_of_ours,
            })
        })
        .try_fold(false, |any, each| Some(any | each?))
}

fn has_port(right: &Value, port: u16) -> Option<bool> {
    let port = u64::from(port);
    members(right)
        .map(|each| match each["range"].as_array() {
            Some(range) => {
                let end = |index: usize| range.get(index).and_then(Value::as_u64);
                Some((end(0)?..=end(1)?).contains(&port))
            }
            None => each.as_u64().map(|each| each == port),
        })
        .try_fold(false, |any, each| Some(any | each?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chain(name: &str, hook: &str, policy: &str) -> Value {
        json!({"chain": {"family": "inet", "table": "t", "name": name, "hook": hook,
            "policy": policy}})
    }

    fn rule(chain: &str, expression: Value) -> Value {
        json!({"rule": {"family": "inet", "table": "t", "chain": chain, "expr": expression}})
    }

    fn fate_of(items: &[Value], packet: &Packet) -> Fate {
        judge(&json!({ "nftables": items }), packet)
    }

    fn tunnel() -> Packet {
        Packet {
            hook: "input",
            is_v4: true,
            incoming: "eth0".to_owned(),
            outgoing: String::new(),
            udp_port: Some(4789),
        }
    }

    fn dropped() -> Fate {
        Fate::Dropped("inet t in".to_owned())
    }

    fn port(right: Value) -> Value {
        json!({"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}},
            "right": right}})
    }

    #[test]
    fn a_policy_drops_what_no_rule_accepts() {
        let base = chain("in", "input", "drop");
        let accept = json!({"accept": null});
        assert_eq!(fate_of(std::slice::from_ref(&base), &tunnel()), dropped());
        for right in [
            json!(4789),
            json!({"set": [53, 4789]}),
            json!({"set": [{"range": [4000, 5000]}]}),
        ] {
            let rules = [base.clone(), rule("in", json!([port(right), accept]))];
            assert_eq!(fate_of(&rules, &tunnel()), Fate::Passes);
        }
        let other = rule("in", json!([port(json!(53)), accept]));
        assert_eq!(fate_of(&[base.clone(), other], &tunnel()), dropped());
        let unknown = rule(
            "in",
            json!([{"xt": {"type": "match", "name": "u32"}}, accept]),
        );
        assert_eq!(
            fate_of(&[base.clone(), unknown], &tunnel()),
            Fate::Unclear("inet t in".to_owned())
        );
        let established = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}},
            "right": ["established", "related"]}});
        let rules = [base, rule("in", json!([established, accept]))];
        assert_eq!(fate_of(&rules, &tunnel()), dropped());
    }

    #[test]
    fn rules_drop_through_chains_and_for_their_interfaces_only() {
        let interface = |name: &str| json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": name}});
        let base = chain("in", "input", "accept");
        let jump = rule("in", json!([{"jump": {"target": "more"}}]));
        let drop = json!({"drop": null});
        let more = rule("more", json!([interface("eth*"), {"counter": null}, drop]));
        let rules = [base.clone(), jump.clone(), more];
        assert_eq!(fate_of(&rules, &tunnel()), dropped());
        let more = rule("more", json!([interface("wlan0"), drop]));
        assert_eq!(
            fate_of(&[base.clone(), jump, more], &tunnel()),
            Fate::Passes
        );
        let perhaps = rule("in", json!([{"xt": {}}, drop]));
        assert_eq!(fate_of(&[base, perhaps], &tunnel()), Fate::Passes);
    }

    #[test]
    fn what_is_forwarded_is_judged_by_its_interfaces() {
        let packet = Packet {
            hook: "forward",
            is_v4: true,
            incoming: "ng*".to_owned(),
            outgoing: "eth0".to_owned(),
            udp_port: None,
        };
        let base = chain("fw", "forward", "drop");
        let ours = json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}},
            "right": "ng*"}});
        let rules = [base.clone(), rule("fw", json!([ours, {"accept": null}]))];
        assert_eq!(fate_of(&rules, &packet), Fate::Passes);
        assert_eq!(
            fate_of(&[base], &packet),
            Fate::Dropped("inet t fw".to_owned())
        );
    }
}
