//! The setting `log`: which lines are written, by level and target.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The levels, least first.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// A directive that says nothing: left to the subscriber's own parser, a word that is no level would
/// be a target, and silence every other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a level (error, warn, info, debug, trace, off) nor a target with one, as in \
     `dataplane=debug`"
)]
pub(super) struct BadDirective(String);

/// Reads directives with commas between them; of several for the same the last one counts.
///
/// # Errors
/// The first directive that is neither a level nor `target=level`.
pub(super) fn targets(text: &str) -> Result<Targets, BadDirective> {
    text.split(',').try_fold(Targets::new(), |targets, text| {
        let text = text.trim();
        let bad = || BadDirective(text.to_owned());
        match text.split_once('=') {
            None => Ok(targets.with_default(level(text).ok_or_else(bad)?)),
            Some((target, name)) if is_target(target) => {
                Ok(targets.with_target(target, level(name).ok_or_else(bad)?))
            }
            Some(_) => Err(bad()),
        }
    })
}

fn level(name: &str) -> Option<LevelFilter> {
    let is_named = |(known, _): &&(&str, LevelFilter)| known.eq_ignore_ascii_case(name);
    LEVELS.iter().find(is_named).map(|(_, level)| *level)
}

/// Targets are the paths of modules, as in `dataplane::kernel`.
fn is_target(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}
