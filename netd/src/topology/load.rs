//! Reads the topology file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{EndpointName, NAMESPACES, NodeName, Topology, raw};
use rustix::fs::statfs;
use rustix::io::Errno;

use super::parse::parse;
use crate::document::Mistake;

/// The file system of namespaces, as `statfs` calls it (`NSFS_MAGIC`, linux/magic.h).
const NSFS: i64 = 0x6e73_6673;

/// A topology without errors, and where its namespaces stand in the file.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The cluster.
    pub(crate) topology: Arc<Topology>,
    file: PathBuf,
    /// The line of each endpoint's namespace.
    namespaces: BTreeMap<EndpointName, usize>,
}

/// One thing that is wrong with the topology file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadError {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line, from 1; 0 when the file as a whole is meant.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) message: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.line {
            0 => write!(f, "{file}: {}", self.message),
            line => write!(f, "{file}:{line}: {}", self.message),
        }
    }
}

/// Reads and checks the file.
///
/// # Errors
///
/// Everything that is wrong with it, by line; with a node, also the namespaces that it should have
/// and has not.
pub(crate) fn load(file: &Path, node: Option<&NodeName>) -> Result<Loaded, Vec<LoadError>> {
    let whole = |message: String| LoadError {
        file: file.to_owned(),
        line: 0,
        message,
    };
    let text = fs::read(file).map_err(|error| vec![whole(error.to_string())])?;
    let text = String::from_utf8(text).map_err(|error| vec![whole(error.to_string())])?;
    check(file, &text, node)
}

fn check(file: &Path, text: &str, node: Option<&NodeName>) -> Result<Loaded, Vec<LoadError>> {
    let (raw, mistakes) = parse(text);
    let error = |line, message| LoadError {
        file: file.to_owned(),
        line,
        message,
    };
    let told = |mistake: Mistake| error(mistake.line, mistake.message);
    let mut errors: Vec<_> = mistakes.into_iter().map(told).collect();
    match model::validate(&raw) {
        Ok(topology) if errors.is_empty() => {
            return Ok(Loaded {
                topology: Arc::new(topology),
                file: file.to_owned(),
                namespaces: raw
                    .endpoints
                    .iter()
                    .filter_map(|it| namespace_line(&it.value))
                    .collect(),
            });
        }
        Ok(_) => {}
        Err(problems) => {
            errors.extend(problems.iter().map(|it| error(it.line, it.to_string())));
        }
    }
    if let Some(node) = node {
        let missing = raw
            .endpoints
            .iter()
            .filter_map(|it| missing_namespace(&it.value, node));
        errors.extend(missing.map(|(line, message)| error(line, message)));
    }
    errors.sort_by_key(|error| error.line);
    Err(errors)
}

/// What is wrong with the namespace of an endpoint that the node should have, in a file that has
/// other mistakes as well.
fn missing_namespace(endpoint: &raw::Endpoint, node: &NodeName) -> Option<(usize, String)> {
    if endpoint.node.given()?.value != node.as_str() {
        return None;
    }
    let namespace = endpoint.namespace.given()?;
    let path = Path::new(NAMESPACES).join(&namespace.value);
    Some((namespace.line, told(&path, &namespace_fault(&path)?)))
}

fn told(path: &Path, fault: &str) -> String {
    format!("namespace {}: {fault}", path.display())
}

fn namespace_line(endpoint: &raw::Endpoint) -> Option<(EndpointName, usize)> {
    let name = endpoint.name.given()?.value.parse().ok()?;
    Some((name, endpoint.namespace.given()?.line))
}

/// What of the topology cannot be on this host: a node of another name, a namespace that is not
/// there. Empty when everything can.
pub(crate) fn unfit(loaded: &Loaded, node: &NodeName) -> Vec<LoadError> {
    let error = |line, message| LoadError {
        file: loaded.file.clone(),
        line,
        message,
    };
    if !loaded.topology.nodes.contains_key(node) {
        return vec![error(
            0,
            format!("there is no node `{node}`, which this one is to be"),
        )];
    }
    let here = loaded
        .topology
        .endpoints
        .iter()
        .filter(|(_, it)| it.task.node == *node);
    let mut errors: Vec<_> = here
        .filter_map(|(name, endpoint)| {
            let path = &endpoint.task.namespace;
            let fault = namespace_fault(path)?;
            let line = loaded.namespaces.get(name).copied().unwrap_or_default();
            Some(error(line, told(path, &fault)))
        })
        .collect();
    errors.sort_by_key(|error| error.line);
    errors
}

/// Why a path is no namespace of this host.
fn namespace_fault(path: &Path) -> Option<String> {
    match statfs(path) {
        Ok(file_system) if file_system.f_type == NSFS => None,
        Ok(_) => Some("is a file, not a namespace".to_owned()),
        Err(Errno::NOENT) => Some("does not exist".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Checks a text that is in no file.
#[cfg(test)]
pub(super) fn check_text(text: &str) -> Option<Arc<Topology>> {
    check(Path::new("t.toml"), text, None)
        .ok()
        .map(|loaded| loaded.topology)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = include_str!("tests/cluster.toml");

    fn loaded(text: &str) -> Result<Loaded, Vec<String>> {
        let told = |errors: Vec<LoadError>| errors.iter().map(ToString::to_string).collect();
        check(Path::new("t.toml"), text, None).map_err(told)
    }

    #[test]
    fn a_whole_file_is_taken() {
        let topology = loaded(CLUSTER).unwrap().topology;
        assert_eq!((topology.nodes.len(), topology.endpoints.len()), (2, 3));
    }

    #[test]
    fn a_missing_namespace_is_told_beside_other_mistakes() {
        let text = CLUSTER.replace("[[node]]", "[[node]]\nodd = 1");
        let node = "n1".parse().unwrap();
        let errors = check(Path::new("t.toml"), &text, Some(&node)).unwrap_err();
        let has = |part: &str| errors.iter().any(|error| error.to_string().contains(part));
        assert!(has("odd") && has("does not exist"), "{errors:?}");
    }

    #[test]
    fn the_example_in_the_documentation_is_right() {
        let page = include_str!("../../../docs/topology.md");
        let (_, rest) = page.split_once("```toml\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        assert_eq!(loaded(example).unwrap().topology.services.len(), 1);
    }

    #[test]
    fn mistakes_of_shape_and_of_sense_are_told_together_by_line() {
        let text = CLUSTER
            .replace("internal = false", "internal = 0")
            .replace("\"web-2\", weight", "\"web-9\", weight")
            .replace("192.0.2.12", "192.0.2.11");
        let errors = loaded(&text).unwrap_err();
        assert_eq!(
            errors,
            [
                "t.toml:14: 192.0.2.11 is already the address of node `n1` (line 9)",
                "t.toml:20: `internal` takes true or false, not an integer",
                "t.toml:51: there is no endpoint `web-9`",
            ]
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_of_the_whole() {
        let errors = load(Path::new("/nonexistent/t.toml"), None).unwrap_err();
        let message = "/nonexistent/t.toml: No such file or directory (os error 2)";
        assert_eq!(errors[0].to_string(), message);
    }

    #[test]
    fn another_nodes_namespaces_are_its_own_business() {
        let own = "/proc/self/ns/net";
        let loaded = loaded(&CLUSTER.replace("\"q-web-1\"", &format!("\"{own}\""))).unwrap();
        assert_eq!(unfit(&loaded, &"n1".parse().unwrap()), []);
        let there = unfit(&loaded, &"n2".parse().unwrap());
        let told: Vec<_> = there.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "t.toml:32: namespace /run/netns/netd-unit-no-such: does not exist",
                "t.toml:38: namespace /dev/null: is a file, not a namespace",
            ]
        );
    }

    #[test]
    fn a_node_that_is_not_in_the_file_is_told() {
        let loaded = loaded(CLUSTER).unwrap();
        let told = unfit(&loaded, &"n7".parse().unwrap());
        assert_eq!(
            told[0].to_string(),
            "t.toml: there is no node `n7`, which this one is to be"
        );
    }
}
