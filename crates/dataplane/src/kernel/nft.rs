//! Our nftables table, and what other tables drop, by nft(8) in its JSON form.

mod foreign;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use ipnetwork::IpNetwork;
use serde_json::{Value, json};

pub(crate) use self::foreign::{Fate, Packet, fate};
use crate::world::Firewall;

/// nft(8) cannot be run, or refuses; the ruleset is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NftError {
    /// It cannot be started, or its answer read.
    #[error("run nft")]
    Run(#[source] io::Error),
    /// It has read the request and says no.
    #[error("nft refused: {0}")]
    Refused(String),
    /// Its answer is not what its manual says.
    #[error("read the answer of nft")]
    Answer(#[source] serde_json::Error),
}

/// A base chain that lets nothing through by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DroppingChain {
    /// "forward" or "input".
    pub(crate) hook: String,
    /// Family, table and chain.
    pub(crate) name: String,
}

/// The priority of what comes before connection tracking (`NF_IP_PRI_RAW`).
const RAW: i32 = -300;

/// Replaces our table as a whole, in one transaction.
pub(crate) fn replace(firewall: &Firewall) -> Result<(), NftError> {
    submit(&ruleset(firewall))
}

/// Removes a table of ours, if it is there.
pub(crate) fn delete(table: &str) -> Result<(), NftError> {
    let table = json!({"family": "inet", "name": table});
    submit(&json!({"nftables": [{"add": {"table": table}}, {"delete": {"table": table}}]}))
}

/// Reads our table; fields that cannot be read back are empty, so that they differ from any that
/// are wanted.
pub(crate) fn observe(table: &str) -> Result<Option<Firewall>, NftError> {
    if !tables()?.iter().any(|name| name == table) {
        return Ok(None);
    }
    let answer = list(&["list", "table", "inet", table])?;
    Ok(Some(read(table, &answer)))
}

/// Names of the tables of family inet.
pub(crate) fn tables() -> Result<Vec<String>, NftError> {
    let answer = list(&["list", "tables", "inet"])?;
    let tables = items(&answer, "table").filter_map(|table| table["name"].as_str());
    Ok(tables.map(str::to_owned).collect())
}

/// Chains of others that drop by default what is forwarded or received.
pub(crate) fn dropping_chains() -> Result<Vec<DroppingChain>, NftError> {
    Ok(read_dropping(&list(&["list", "chains"])?))
}

fn ruleset(firewall: &Firewall) -> Value {
    let name = &firewall.table;
    let table = json!({"family": "inet", "name": name});
    let chain = |name: &str, kind: &str, hook: &str, priority: i32| {
        json!({"add": {"chain": {
            "family": "inet", "table": firewall.table, "name": name,
            "type": kind, "hook": hook, "prio": priority, "policy": "accept",
        }}})
    };
    let rule = |chain: &str, expression: Vec<Value>| {
        json!({"add": {"rule": {
            "family": "inet", "table": firewall.table, "chain": chain, "expr": expression,
        }}})
    };
    // Naming a table in "add" first lets "delete" succeed whether it was there or not.
    let mut commands = vec![
        json!({"add": {"table": table}}),
        json!({"delete": {"table": table}}),
        json!({"add": {"table": table}}),
        chain("postrouting", "nat", "postrouting", 100),
        chain("forward", "filter", "forward", 0),
        chain("prerouting", "filter", "prerouting", RAW),
        chain("output", "filter", "output", RAW),
    ];
    // What a task sends to such a port elsewhere is masqueraded, and so has to be tracked.
    let from_outside = interface("iifname", "!=", &firewall.gateways);
    let tunnel = to_port(firewall.untracked);
    let notrack = json!({"notrack": null});
    commands.push(rule(
        "prerouting",
        vec![from_outside, tunnel.clone(), notrack.clone()],
    ));
    commands.push(rule("output", vec![tunnel, notrack]));
    for source in &firewall.sources {
        let matches = [
            from(*source),
            interface("oifname", "!=", &firewall.gateways),
        ];
        let ported = json!({"match": {
            "op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "udp"]},
        }});
        let (first, last) = firewall.ports;
        let ports = json!({"masquerade": {"port": {"range": [first, last]}}});
        let with_ports = matches.iter().cloned().chain([ported, ports]).collect();
        let without = matches
            .iter()
            .cloned()
            .chain([json!({"masquerade": null})])
            .collect();
        commands.push(rule("postrouting", with_ports));
        commands.push(rule("postrouting", without));
    }
    let unsolicited = json!({"match": {
        "op": "in", "left": {"ct": {"key": "state"}}, "right": ["invalid", "new"],
    }});
    let mark = json!({"mangle": {"key": {"meta": {"key": "mark"}}, "value": firewall.mark}});
    let expression = vec![
        interface("oifname", "==", &firewall.gateways),
        unsolicited,
        mark,
    ];
    commands.push(rule("forward", expression));
    json!({"nftables": commands})
}

fn from(source: IpNetwork) -> Value {
    let protocol = if source.is_ipv4() { "ip" } else { "ip6" };
    json!({"match": {
        "op": "==",
        "left": {"payload": {"protocol": protocol, "field": "saddr"}},
        "right": {"prefix": {"addr": source.network(), "len": source.prefix()}},
    }})
}

fn to_port(port: u16) -> Value {
    json!({"match": {
        "op": "==",
        "left": {"payload": {"protocol": "udp", "field": "dport"}},
        "right": port,
    }})
}

fn interface(key: &str, operator: &str, prefix: &str) -> Value {
    json!({"match": {
        "op": operator,
        "left": {"meta": {"key": key}},
        "right": format!("{prefix}*"),
    }})
}

fn read(table: &str, answer: &Value) -> Firewall {
    let mut firewall = Firewall {
        table: table.to_owned(),
        gateways: String::new(),
        sources: BTreeSet::new(),
        ports: (0, 0),
        mark: 0,
        untracked: 0,
    };
    let mut plain = BTreeSet::new();
    let mut untracked = Vec::new();
    for rule in items(answer, "rule") {
        let expression = rule["expr"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let source = expression.iter().find_map(read_source);
        for part in expression {
            if let Some(range) = part["masquerade"]["port"]["range"].as_array() {
                firewall.ports = (read_port(range.first()), read_port(range.get(1)));
                firewall.sources.extend(source);
            } else if part.get("masquerade").is_some() {
                plain.extend(source);
            } else if part.get("notrack").is_some() {
                untracked.extend(expression.iter().find_map(read_destination));
            } else if let Some(mark) = part["mangle"]["value"].as_u64() {
                firewall.mark = u32::try_from(mark).unwrap_or_default();
                firewall.gateways = expression.iter().find_map(read_prefix).unwrap_or_default();
            }
        }
    }
    // A source counts when both of its rules are there.
    firewall.sources.retain(|source| plain.contains(source));
    // Likewise what comes and what goes.
    if let [incoming, outgoing] = untracked[..]
        && incoming == outgoing
    {
        firewall.untracked = incoming;
    }
    firewall
}

fn read_source(part: &Value) -> Option<IpNetwork> {
    let prefix = &part["match"]["right"]["prefix"];
    let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
    IpNetwork::new(prefix["addr"].as_str()?.parse().ok()?, length).ok()
}

fn read_destination(part: &Value) -> Option<u16> {
    let matched = &part["match"];
    let port = matched["right"].as_u64()?;
    (matched["left"]["payload"]["field"] == "dport").then(|| u16::try_from(port).ok())?
}

fn read_prefix(part: &Value) -> Option<String> {
    let matched = &part["match"];
    let name = matched["right"].as_str()?;
    (matched["left"]["meta"]["key"] == "oifname").then(|| name.trim_end_matches('*').to_owned())
}

fn read_port(value: Option<&Value>) -> u16 {
    value
        .and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or_default()
}

fn read_dropping(answer: &Value) -> Vec<DroppingChain> {
    items(answer, "chain")
        .filter(|chain| chain["policy"] == "drop")
        .filter_map(|chain| {
            let hook = chain["hook"].as_str()?;
            let name = ["family", "table", "name"].map(|key| chain[key].as_str().unwrap_or("?"));
            matches!(hook, "forward" | "input").then(|| DroppingChain {
                hook: hook.to_owned(),
                name: name.join(" "),
            })
        })
        .collect()
}

/// The objects of one kind in an answer.
fn items<'a>(answer: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = answer["nftables"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    all.iter().filter_map(move |item| item.get(kind))
}

fn list(arguments: &[&str]) -> Result<Value, NftError> {
    let output = Command::new("nft")
        .arg("-j")
        .args(arguments)
        .output()
        .map_err(NftError::Run)?;
    let output = accepted(output)?;
    serde_json::from_slice(&output).map_err(NftError::Answer)
}

fn submit(ruleset: &Value) -> Result<(), NftError> {
    let mut child = Command::new("nft")
        .args(["-j", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(NftError::Run)?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(ruleset.to_string().as_bytes())
            .map_err(NftError::Run)?;
    }
    accepted(child.wait_with_output().map_err(NftError::Run)?).map(drop)
}

fn accepted(output: Output) -> Result<Vec<u8>, NftError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(NftError::Refused(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}
