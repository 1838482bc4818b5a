use std::path::Path;

use clap::{CommandFactory as _, Parser as _};

use super::*;

fn typed(line: &str) -> Given {
    let words = std::iter::once("netd").chain(line.split_whitespace());
    match Args::try_parse_from(words).unwrap().asked().unwrap() {
        Command::Run(given) | Command::Check(given) | Command::Cleanup(given, _) => given,
    }
}

fn written(text: &str) -> Given {
    file::parse(Path::new("netd.toml"), text)
}

#[test]
fn the_command_line_is_sound() {
    Args::command().debug_assert();
}

#[test]
fn two_values_are_enough() {
    let config = typed("--static t.toml --node n1").config().unwrap();
    assert_eq!(
        (config.topology, config.instance),
        ("t.toml".into(), "n1".to_owned())
    );
    assert_eq!(config.socket, Path::new("/run/netd/netd.sock"));
    assert_eq!(config.state_dir, Path::new("/var/lib/netd/n1"));
    assert_eq!(config.bpffs, Path::new("/sys/fs/bpf"));
    assert_eq!(config.logging.format, LogFormat::Text);
    assert_eq!(config.flow_capacity, None);
}

#[test]
fn flags_win_over_the_file() {
    let file = "static = 'f.toml'\nnode = 'n1'\ninstance = 'lab'\nlog_format = 'json'\nflow_capacity = 4096\n";
    let config = typed("--node n2 --state-dir /tmp/x")
        .over(written(file))
        .config()
        .unwrap();
    assert_eq!(config.node.as_str(), "n2");
    assert_eq!(
        (config.topology, config.state_dir),
        ("f.toml".into(), "/tmp/x".into())
    );
    assert_eq!(
        (config.instance, config.flow_capacity),
        ("lab".to_owned(), Some(4096))
    );
    assert_eq!(config.logging.format, LogFormat::Json);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let file = "nodes = 'n1'\nlog = 7\nflow_capacity = 5\nlog_format = 'xml'\n";
    let errors = typed("--instance a/b --log =x")
        .over(written(file))
        .config()
        .unwrap_err();
    let told = errors.to_string();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 8, "{told}");
    for (line, begin) in lines.iter().zip([
        "netd.toml:2: `log` takes a string, not an integer",
        "netd.toml:1: the file has no key `nodes`; it has attach, audit_interval, bpffs, flow_capacity, instance, ",
        "--static is needed, or NETD_STATIC, or `static` in the file",
        "--node is needed, or NETD_NODE, or `node` in the file",
        "--instance or NETD_INSTANCE: `a/b`: a name has 1 to 63 ",
        "--log or NETD_LOG: `=x`: `=x` is neither a level ",
        "netd.toml:4: `xml`: `text` or `json` is needed",
        "netd.toml:3: `5`: a number from 1024 to 16777216 is needed",
    ]) {
        assert!(line.starts_with(begin), "{line}");
    }
}

#[test]
fn a_named_file_that_is_missing_is_an_error_and_the_default_one_is_not() {
    let args = ["netd", "--config", "/nonexistent/netd.toml"];
    let error = Args::try_parse_from(args).unwrap().asked().unwrap_err();
    assert!(
        error.to_string().starts_with("/nonexistent/netd.toml: "),
        "{error}"
    );
}

#[test]
fn cleanup_is_of_one_instance_or_of_all() {
    let all = typed("cleanup --dry-run").cleanup(true).unwrap();
    assert_eq!((all.instance, all.state), (None, "/var/lib/netd".into()));
    assert!(all.dry_run);
    let one = typed("cleanup --instance lab-n1").cleanup(false).unwrap();
    assert_eq!(one.instance.as_deref(), Some("lab-n1"));
    assert_eq!(one.state, Path::new("/var/lib/netd/lab-n1"));
}

#[test]
fn a_check_needs_no_node() {
    let (check, settings) = typed("check --static t.toml").check();
    let check = check.unwrap();
    assert_eq!((check.topology, check.node), ("t.toml".into(), None));
    assert_eq!(settings, Ok(()));
    let (check, settings) = typed("check").check();
    assert!(check.is_none());
    assert!(settings.is_err());
}

#[test]
fn a_check_refuses_the_settings_that_a_start_refuses() {
    for text in [
        "flow_capacity = 3\naudit_interval = 0\nattach = 'xdp'\nlog = 'loud'\n",
        "bogus = 1\nflow_capacity = 3\n",
        "instance = 'a/b'\nlog_format = 'xml'\nreplace_layout = 1\n",
        "log = ",
    ] {
        let given = || typed("--static t.toml --node n1").over(written(text));
        let start = given().config().unwrap_err();
        let (check, settings) = typed("check --static t.toml --node n1")
            .over(written(text))
            .check();
        assert_eq!(settings, Err(start), "{text}");
        assert!(check.is_some(), "the topology is checked all the same");
    }
}

#[test]
fn a_log_has_levels_and_targets_with_levels() {
    let log = |text: &str| typed(&format!("--static t.toml --node n1 --log {text}")).config();
    for good in [
        "off",
        "WARN",
        "info,dataplane=debug",
        "dataplane::kernel=trace",
    ] {
        assert!(log(good).is_ok(), "{good}");
    }
    let targets = log("info,dataplane=debug").unwrap().logging.targets;
    assert!(targets.would_enable("netd", &tracing::Level::INFO));
    assert!(!targets.would_enable("netd", &tracing::Level::DEBUG));
    assert!(targets.would_enable("dataplane::kernel", &tracing::Level::DEBUG));
}

#[test]
fn a_word_that_is_no_level_does_not_silence_the_log() {
    for (bad, directive) in [
        ("loud", "loud"),
        ("dataplane", "dataplane"),
        ("3", "3"),
        ("info,loud", "loud"),
        ("info,dataplane=loud", "dataplane=loud"),
        ("info,=debug", "=debug"),
        ("a=b=debug", "a=b=debug"),
        ("[span]=debug", "[span]=debug"),
        ("info,", ""),
    ] {
        let line = format!("--static t.toml --node n1 --log {bad}");
        let told = typed(&line).config().unwrap_err().to_string();
        let expected = format!(
            "--log or NETD_LOG: `{bad}`: `{directive}` is neither a level (error, warn, info, debug, \
             trace, off) nor a target with one, as in `dataplane=debug`"
        );
        assert_eq!(told, expected);
    }
    assert!(log::targets("").is_err());
}

#[test]
fn the_settings_in_the_documentation_are_right() {
    let page = include_str!("../../../docs/operations.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let config = typed("").over(written(example)).config().unwrap();
    assert_eq!(config.flow_capacity, Some(262_144));
    for variable in Args::command()
        .get_arguments()
        .filter_map(clap::Arg::get_env)
    {
        let key = variable.to_str().unwrap().strip_prefix("NETD_").unwrap();
        let key = key.to_lowercase();
        let is_told = key == "config" || page.contains(&format!("\n| `{key}` | "));
        assert!(is_told, "{key}");
    }
}
