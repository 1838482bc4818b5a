//! One file for each noun: its table, its long form, its filter.

pub(crate) mod doctor;
pub(crate) mod drops;
pub(crate) mod endpoint;
pub(crate) mod flow;
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod status;
pub(crate) mod trace;
pub(crate) mod vip;
