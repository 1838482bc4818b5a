//! The command line as it is meant.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::args::{Args, DropVerb, FlowVerb, FormatArg, ListArgs, Noun, PortVerb, Verbs};
use crate::noun::{doctor, drops, endpoint, flow, port, trace, vip};
use crate::output::{Format, Style, TemplateError, Width};

/// A question to one netd.
#[derive(Debug)]
pub(crate) struct Request {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// Where those of other nodes do.
    pub(crate) others: Vec<PathBuf>,
    /// What is asked.
    pub(crate) question: Question,
}

/// What is asked, and how the answer is shown.
#[derive(Debug)]
pub(crate) enum Question {
    /// The node as a whole.
    Status(Format),
    /// A list, once.
    List(List, Style),
    /// Objects by name.
    Inspect(Named, Vec<String>, Format),
    /// Flows, until interrupted.
    WatchFlows(flow::Filter, Style),
    /// Drops, until interrupted.
    WatchDrops(drops::Filter, Style),
    /// What is wrong with the host.
    Doctor(doctor::Filter, Style),
    /// What would become of a packet.
    Trace(trace::Ends, Format),
    /// Nothing: the completion script of this shell.
    Completion(clap_complete::Shell),
}

/// A list.
#[derive(Debug)]
pub(crate) enum List {
    /// Every network.
    Networks,
    /// These endpoints.
    Endpoints(endpoint::Filter),
    /// These VIPs.
    Vips(vip::Filter),
    /// These published ports.
    Ports(port::Filter),
    /// These flows.
    Flows(flow::Filter),
    /// These drop reasons.
    Drops(drops::Filter),
}

/// A kind of object that has names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    /// A network.
    Network,
    /// An endpoint.
    Endpoint,
    /// A VIP, by its service.
    Vip,
}

impl Request {
    /// Reads what was typed, with these variables of the environment for what was not. `width` is
    /// how long the sentences of a list may be unless all of them is asked for.
    pub(crate) fn new(
        args: Args,
        variable: impl Fn(&str) -> Option<OsString>,
        width: Width,
    ) -> Result<Self, TemplateError> {
        let mut sockets = args.socket.into_iter();
        let socket = sockets
            .next()
            .or_else(|| from_environment(variable))
            .unwrap_or_else(|| api::path::SOCKET.into());
        let question = match args.noun {
            Noun::Status { format } => Question::Status(format.read()?),
            Noun::Network(verb) => named(verb, Named::Network, |_all| List::Networks)?,
            Noun::Endpoint(verb) => named(verb, Named::Endpoint, List::Endpoints)?,
            Noun::Vip(verb) => named(verb, Named::Vip, List::Vips)?,
            Noun::Port(PortVerb::Ls { filter, list }) => {
                Question::List(List::Ports(filter), list.read()?)
            }
            Noun::Flow(verb) => flows(verb)?,
            Noun::Drop(verb) => dropped(verb, width)?,
            Noun::Doctor { filter, format } => Question::Doctor(
                filter,
                Style {
                    format: format.read()?,
                    quiet: false,
                    width: Width::Full,
                },
            ),
            Noun::Trace { ends, format } => Question::Trace(ends, format.read()?),
            Noun::Completion { shell } => Question::Completion(shell),
        };
        Ok(Self {
            socket,
            others: sockets.collect(),
            question,
        })
    }
}

fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    ["NETCTL_SOCKET", "NETD_SOCKET"]
        .into_iter()
        .filter_map(variable)
        .find(|path| !path.is_empty())
        .map(PathBuf::from)
}

fn named<F: clap::Args>(
    verb: Verbs<F>,
    kind: Named,
    list: impl Fn(F) -> List,
) -> Result<Question, TemplateError> {
    Ok(match verb {
        Verbs::Ls {
            filter,
            list: style,
        } => Question::List(list(filter), style.read()?),
        Verbs::Inspect { names, format } => Question::Inspect(kind, names, format.read()?),
    })
}

fn flows(verb: FlowVerb) -> Result<Question, TemplateError> {
    let FlowVerb::Ls {
        filter,
        format,
        watch,
    } = verb;
    let style = Style {
        format: format.read()?,
        quiet: false,
        width: Width::Full,
    };
    Ok(if watch {
        Question::WatchFlows(filter, style)
    } else {
        Question::List(List::Flows(filter), style)
    })
}

fn dropped(verb: DropVerb, width: Width) -> Result<Question, TemplateError> {
    let DropVerb::Ls {
        filter,
        list,
        watch,
    } = verb;
    let mut style = list.read()?;
    if width == Width::Full {
        style.width = width;
    }
    Ok(if watch {
        Question::WatchDrops(filter, style)
    } else {
        Question::List(List::Drops(filter), style)
    })
}

impl FormatArg {
    fn read(&self) -> Result<Format, TemplateError> {
        Format::parse(self.format.as_deref())
    }
}

impl ListArgs {
    fn read(&self) -> Result<Style, TemplateError> {
        Ok(Style {
            format: self.format.read()?,
            quiet: self.quiet,
            width: if self.no_trunc {
                Width::Full
            } else {
                Width::Short
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_socket_is_taken_from_the_nearest_place() {
        let both = |name: &str| Some(format!("/{name}").into());
        let netd = |name: &str| (name == "NETD_SOCKET").then(|| "/netd".into());
        let empty = |_: &str| Some(OsString::new());
        assert_eq!(socket(&["--socket", "/typed"], both), "/typed");
        assert_eq!(socket(&[], both), "/NETCTL_SOCKET");
        assert_eq!(socket(&[], netd), "/netd");
        assert_eq!(socket(&[], empty), api::path::SOCKET);
        assert_eq!(socket(&[], |_| None), api::path::SOCKET);
    }

    #[test]
    fn the_socket_may_be_named_behind_the_verb() {
        let args = Args::try_parse_from(["netctl", "vip", "ls", "--socket", "/x"]).unwrap();
        assert_eq!(args.socket, [PathBuf::from("/x")]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "",
            "vip",
            "vip inspect",
            "network inspect --format json",
            "network ls extra",
            "network ls -q --format json",
            "flow ls --state open",
            "flow ls --client nowhere",
            "port ls --protocol sctp",
            "status --watch",
            "port inspect 80",
        ] {
            let words = ["netctl"].into_iter().chain(line.split_whitespace());
            let error = Args::try_parse_from(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }

    #[test]
    fn a_template_that_is_none_is_refused_before_anything_is_asked() {
        let args = Args::try_parse_from(["netctl", "vip", "ls", "--format", "{{.ID"]).unwrap();
        assert!(Request::new(args, |_| None, Width::Short).is_err());
    }

    #[test]
    fn drops_are_cut_on_terminals_only() {
        let width = |line: &str, width| {
            let args = Args::try_parse_from(line.split(' ')).unwrap();
            let question = Request::new(args, |_| None, width).unwrap().question;
            let (Question::List(_, style) | Question::WatchDrops(_, style)) = question else {
                panic!("{line}: {question:?}");
            };
            style.width
        };
        assert_eq!(width("netctl drop ls", Width::Short), Width::Short);
        assert_eq!(width("netctl drop ls", Width::Full), Width::Full);
        assert_eq!(width("netctl drop ls --watch", Width::Full), Width::Full);
        assert_eq!(
            width("netctl drop ls --no-trunc", Width::Short),
            Width::Full
        );
    }

    fn socket(typed: &[&str], variable: impl Fn(&str) -> Option<OsString>) -> String {
        let words = ["netctl", "status"].iter().chain(typed);
        let args = Args::try_parse_from(words).unwrap();
        let request = Request::new(args, variable, Width::Short).unwrap();
        request.socket.into_os_string().into_string().unwrap()
    }
}
