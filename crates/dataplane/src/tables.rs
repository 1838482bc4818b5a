#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables;
