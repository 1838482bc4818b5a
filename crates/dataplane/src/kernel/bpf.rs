//! The kernel programs and their maps.

mod attach;
mod cgroup;
mod contents;
mod filesystem;
mod flows;
mod layout;
mod loads;
mod native;
mod object;
mod pins;
mod sweep;
mod sys;
mod table;

pub use attach::Attach;
pub(crate) use attach::{AttachError, PinnedLink, detach_filters};
pub(crate) use cgroup::{CgroupError, top as cgroup_top};
pub(crate) use contents::{ContentsError, LinkNames};
pub(crate) use filesystem::{is_mounted, is_spare, mount_bpffs, unmount_bpffs};
pub(crate) use flows::{clock_ns, now_ns, origin};
pub(crate) use layout::others as other_layouts;
pub(crate) use loads::Drift;
pub(crate) use object::{LoadError, Loading, Maps, Programs, Samples, load};
pub(crate) use pins::{PinError, Pins};
pub(crate) use table::{TableError, read as read_plain};
