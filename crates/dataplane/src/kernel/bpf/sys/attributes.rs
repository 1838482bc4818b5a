//! The parts of `union bpf_attr` and of the info structures of linux/bpf.h that are used here. The
//! kernel takes what is not given for zero.

/// The part of `union bpf_attr` that the element commands read.
#[repr(C)]
#[derive(Default)]
pub(super) struct ElementAttributes {
    pub(super) map_fd: u32,
    pub(super) reserved: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct BatchAttributes {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map_fd: u32,
    pub(super) element_flags: u64,
    pub(super) flags: u64,
}

/// The part of `union bpf_attr` that a test run reads.
#[repr(C)]
#[derive(Default)]
pub(super) struct TestRunAttributes {
    pub(super) program_fd: u32,
    pub(super) result: u32,
    pub(super) input_length: u32,
    pub(super) output_length: u32,
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) repeat: u32,
    pub(super) duration: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct ObjectAttributes {
    pub(super) path: u64,
    pub(super) fd: u32,
    pub(super) flags: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct InfoAttributes {
    pub(super) fd: u32,
    pub(super) length: u32,
    pub(super) info: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct LinkCreateAttributes {
    pub(super) program_fd: u32,
    pub(super) target_ifindex: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
    pub(super) relative: u64,
    pub(super) expected_revision: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct LinkUpdateAttributes {
    pub(super) link_fd: u32,
    pub(super) program_fd: u32,
    pub(super) flags: u32,
    pub(super) old_program_fd: u32,
}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::kernel::bpf) struct MapInfo {
    pub(in crate::kernel::bpf) map_type: u32,
    pub(in crate::kernel::bpf) id: u32,
    pub(in crate::kernel::bpf) key_size: u32,
    pub(in crate::kernel::bpf) value_size: u32,
    pub(in crate::kernel::bpf) max_entries: u32,
    pub(in crate::kernel::bpf) map_flags: u32,
}

/// The beginning of `struct bpf_link_info`, for a tcx link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::kernel::bpf) struct LinkInfo {
    pub(in crate::kernel::bpf) link_type: u32,
    pub(in crate::kernel::bpf) id: u32,
    pub(in crate::kernel::bpf) program_id: u32,
    reserved: u32,
    /// 0 once the interface is gone.
    pub(in crate::kernel::bpf) ifindex: u32,
    pub(in crate::kernel::bpf) attach_type: u32,
}
