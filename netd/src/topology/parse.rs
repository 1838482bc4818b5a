//! The topology file's keys.

use model::raw::{
    Backend, Endpoint, Field, Gateway, Ingress, Located, Network, Node, Port, Publish, Service,
    Topology,
};
use toml::Spanned;
use toml::de::DeValue;

use crate::document::{self, Mistake, Reader, Table};

/// Reads the text of a topology file. What comes back beside mistakes is what could be understood
/// all the same; after mistakes in the syntax that is nothing.
pub(super) fn parse(text: &str) -> (Topology, Vec<Mistake>) {
    document::read(text, Reader::topology)
}

impl Reader {
    fn topology(&mut self, root: &mut Table<'_>) -> Topology {
        Topology {
            data_path_port: self.integer(root, "data_path_port"),
            ingress: self
                .table(root, ("ingress", "[ingress]"))
                .map(|table| self.read(table, Self::ingress)),
            gateway: self
                .table(root, ("gateway", "[gateway]"))
                .map(|table| self.read(table, Self::gateway)),
            nodes: self.all(root, ("node", "[[node]]"), Self::node),
            networks: self.all(root, ("network", "[[network]]"), Self::network),
            endpoints: self.all(root, ("endpoint", "[[endpoint]]"), Self::endpoint),
            services: self.all(root, ("service", "[[service]]"), Self::service),
        }
    }

    fn all<'a, T>(
        &mut self,
        root: &mut Table<'a>,
        key: (&'static str, &'static str),
        read: impl Fn(&mut Self, &mut Table<'a>) -> T,
    ) -> Vec<Located<T>> {
        let tables = self.tables(root, key);
        tables
            .into_iter()
            .map(|table| self.read(table, &read))
            .collect()
    }

    fn read<'a, T>(
        &mut self,
        mut table: Table<'a>,
        read: impl Fn(&mut Self, &mut Table<'a>) -> T,
    ) -> Located<T> {
        let value = read(self, &mut table);
        self.finish(&table);
        Located {
            line: table.line,
            value,
        }
    }

    fn ingress(&mut self, table: &mut Table<'_>) -> Ingress {
        Ingress {
            vni: self.integer(table, "vni"),
            subnets: self.strings(table, "subnets"),
        }
    }

    fn gateway(&mut self, table: &mut Table<'_>) -> Gateway {
        Gateway {
            pools: or_empty(self.strings(table, "pools")),
        }
    }

    fn node(&mut self, table: &mut Table<'_>) -> Node {
        Node {
            name: self.string(table, "name"),
            address: self.string(table, "address"),
            gateway: or_empty(self.strings(table, "gateway")),
            carrier: self.string(table, "carrier"),
        }
    }

    fn network(&mut self, table: &mut Table<'_>) -> Network {
        Network {
            name: self.string(table, "name"),
            vni: self.integer(table, "vni"),
            subnets: self.strings(table, "subnets"),
            internal: self.boolean(table, "internal"),
            mtu: self.integer(table, "mtu"),
            socket_lb: self.boolean(table, "socket_lb"),
        }
    }

    fn endpoint(&mut self, table: &mut Table<'_>) -> Endpoint {
        Endpoint {
            name: self.string(table, "name"),
            node: self.string(table, "node"),
            namespace: self.string(table, "namespace"),
            network: self.string(table, "network"),
            addresses: or_empty(self.strings(table, "addresses")),
            ingress: or_empty(self.strings(table, "ingress")),
            interface: self.string(table, "interface"),
        }
    }

    fn service<'a>(&mut self, table: &mut Table<'a>) -> Service {
        let port = |reader: &mut Self, value: &'a Spanned<DeValue<'a>>| {
            let table = reader.table_of(value, ("ports", "a port"))?;
            Some(reader.read(table, Self::port))
        };
        let publish = |reader: &mut Self, value: &'a Spanned<DeValue<'a>>| {
            let table = reader.table_of(value, ("publish", "a published port"))?;
            Some(reader.read(table, Self::publish))
        };
        Service {
            name: self.string(table, "name"),
            network: self.string(table, "network"),
            vips: or_empty(self.strings(table, "vips")),
            algorithm: self.string(table, "algorithm"),
            affinity: self.integer(table, "affinity"),
            ports: self.list(table, "ports", "tables", port),
            publish: or_empty(self.list(table, "publish", "tables", publish)),
            backends: or_empty(self.list(table, "backends", "strings and tables", Self::backend)),
        }
    }

    fn port(&mut self, table: &mut Table<'_>) -> Port {
        Port {
            port: self.integer(table, "port"),
            target: self.integer(table, "target"),
            protocol: self.string(table, "protocol"),
        }
    }

    fn publish(&mut self, table: &mut Table<'_>) -> Publish {
        Publish {
            port: self.port(table),
            algorithm: self.string(table, "algorithm"),
            affinity: self.integer(table, "affinity"),
            mode: self.string(table, "mode"),
            nodes: self.strings(table, "nodes"),
            addresses: self.strings(table, "addresses"),
            returns: self.string(table, "return"),
        }
    }

    /// Either an endpoint's name or a table with the name, a weight and a state.
    fn backend<'a>(&mut self, value: &'a Spanned<DeValue<'a>>) -> Option<Located<Backend>> {
        let line = self.line(value.span().start);
        if let Some(name) = value.get_ref().as_str() {
            let endpoint = Field::Given(Located {
                line,
                value: name.to_owned(),
            });
            return Some(Located {
                line,
                value: Backend {
                    endpoint,
                    ..Backend::default()
                },
            });
        }
        if value.get_ref().as_table().is_none() {
            self.wrong(line, ("backends", value.get_ref()), "strings and tables");
            return None;
        }
        let table = self.table_of(value, ("backends", "a backend"))?;
        Some(self.read(table, |reader, table| Backend {
            endpoint: reader.string(table, "endpoint"),
            weight: reader.integer(table, "weight"),
            state: reader.string(table, "state"),
        }))
    }
}

fn or_empty<T>(field: Field<Vec<Located<T>>>) -> Vec<Located<T>> {
    match field {
        Field::Given(list) => list.value,
        Field::Absent | Field::Malformed => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn mistakes(text: &str, expected: &[&str]) {
        let (_, mistakes) = parse(text);
        let told: Vec<_> = mistakes
            .iter()
            .map(|it| format!("{}: {}", it.line, it.message))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn every_value_has_its_line() {
        let text = "data_path_port = 0x12b5\n\n[[node]]\nname = \"n1\"\n\n[[node]]\naddress = '192.0.2.12'\ngateway = [\n  '172.30.0.0/24',\n]\n";
        let (topology, mistakes) = parse(text);
        assert_eq!(mistakes, []);
        assert_eq!(
            topology.data_path_port,
            Field::Given(Located {
                line: 1,
                value: 4789
            })
        );
        assert_eq!(topology.nodes[0].line, 3);
        assert_eq!(topology.nodes[1].line, 6);
        let address = Located {
            line: 7,
            value: "192.0.2.12".to_owned(),
        };
        assert_eq!(topology.nodes[1].value.address, Field::Given(address));
        assert_eq!(topology.nodes[1].value.gateway[0].line, 9);
    }

    #[test]
    fn backends_are_names_or_tables() {
        let text = "[[service]]\nbackends = [\n 'a',\n { endpoint = 'b', weight = 7, state = 'draining' },\n]\naffinity = 60\npublish = [{ port = 80, algorithm = 'sh', affinity = 0 }]";
        let (topology, mistakes) = parse(text);
        assert_eq!(mistakes, []);
        let service = &topology.services[0].value;
        let [a, b] = service.backends.as_slice() else {
            panic!("two backends")
        };
        assert_eq!((a.line, b.line), (3, 4));
        assert_eq!(a.value.endpoint.given().unwrap().value, "a");
        assert_eq!(b.value.weight.given().unwrap().value, 7);
        assert_eq!(b.value.state.given().unwrap().value, "draining");
        assert_eq!(service.affinity.given().unwrap().value, 60);
        assert_eq!(service.publish[0].value.affinity.given().unwrap().value, 0);
        assert_eq!(
            service.publish[0].value.algorithm.given().unwrap().value,
            "sh"
        );
        assert_eq!(service.ports, Field::Absent);
    }

    #[test]
    fn unknown_keys_are_told_with_the_known_ones() {
        mistakes(
            "mtu = 1\n[gateway]\npool = []\n[[service]]\nports = [{ port = 1, proto = 'tcp' }]\n",
            &[
                "3: [gateway] has no key `pool`; it has pools",
                "5: a port has no key `proto`; it has port, protocol, target",
                "1: the file has no key `mtu`; it has data_path_port, endpoint, gateway, ingress, network, node, service",
            ],
        );
    }

    #[test]
    fn wrong_types_are_told_each() {
        mistakes(
            "data_path_port = 99999999999999999999\nnode = 3\ningress = []\n[[network]]\nname = 1\nvni = 1.5\nsubnets = '10.0.0.0/24'\ninternal = 'no'\n[[service]]\nvips = [1, '10.0.0.1']\nbackends = [5, 'a']\nports = [80]\n",
            &[
                "1: `data_path_port` takes an integer of 64 bits, not an integer",
                "3: `ingress` takes a table, not an array",
                "2: `node` takes an array of tables, not an integer",
                "5: `name` takes a string, not an integer",
                "6: `vni` takes an integer of 64 bits, not a float",
                "7: `subnets` takes an array of strings, not a string",
                "8: `internal` takes true or false, not a string",
                "10: `vips` takes strings, not an integer",
                "12: `ports` takes a table, not an integer",
                "11: `backends` takes strings and tables, not an integer",
            ],
        );
    }

    #[test]
    fn all_mistakes_of_syntax_are_told() {
        let (_, mistakes) = parse("a = \n[[node]\nname = \"n1\nb = 1\nb = 2\n");
        let lines: Vec<_> = mistakes.iter().map(|it| it.line).collect();
        assert!(lines.contains(&1) && lines.contains(&2), "{mistakes:?}");
    }
}
