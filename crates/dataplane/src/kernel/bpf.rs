//! The kernel programs and their maps.

mod sys;
mod table;

pub(crate) use table::{CpuTable, Plain, Table, TableError};
