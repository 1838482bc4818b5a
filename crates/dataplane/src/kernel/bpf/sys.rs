//! bpf(2) itself, for what aya has no call for: batches, and tcx links by interface number.
#![expect(unsafe_code, reason = "system calls")]

mod attributes;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use attributes::{
    BatchAttributes, ElementAttributes, InfoAttributes, LinkCreateAttributes, LinkUpdateAttributes,
    ObjectAttributes, TestRunAttributes,
};
pub(super) use attributes::{LinkInfo, MapInfo};

/// Commands, from `enum bpf_cmd` of linux/bpf.h.
#[repr(u32)]
#[derive(Clone, Copy, Debug)]
enum Command {
    LookupElement = 1,
    UpdateElement = 2,
    DeleteElement = 3,
    ObjectPin = 6,
    ObjectGet = 7,
    TestRun = 10,
    ObjectInfo = 15,
    LookupBatch = 24,
    UpdateBatch = 26,
    DeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
}

/// Where a tcx program runs, from `enum bpf_attach_type`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttachType {
    TcxIngress = 46,
    TcxEgress = 47,
}

/// What a batch command did.
#[derive(Debug)]
pub(super) struct Progress {
    /// How many elements were handled before `result`.
    pub(super) count: usize,
    pub(super) result: io::Result<()>,
}

/// A pointer to `bytes` as the kernel takes it. The kernel reads or writes through it only during
/// the call that it is handed to.
fn address<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).addr_u64()
}

trait AddrU64 {
    fn addr_u64(self) -> u64;
}

impl<T: ?Sized> AddrU64 for *const T {
    fn addr_u64(self) -> u64 {
        self.cast::<u8>().expose_provenance() as u64
    }
}

impl<T: ?Sized> AddrU64 for *mut T {
    fn addr_u64(self) -> u64 {
        self.cast::<u8>().expose_provenance() as u64
    }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("open file descriptors are not negative")
}

/// Calls bpf(2).
///
/// # Safety
/// Every address in `attributes` must be valid for what `command` does with it.
unsafe fn call<A>(command: Command, attributes: &mut A) -> io::Result<i32> {
    // SAFETY: `attributes` is exclusively borrowed and its size is given; the caller vouches for
    // the addresses inside.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as u32,
            std::ptr::from_mut(attributes),
            size_of::<A>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).unwrap_or(i32::MAX))
}

/// Turns the result of a command that opens something into its owner.
fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Reads one element. `key` and `value` must have the sizes of the map.
pub(super) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let mut attributes = ElementAttributes {
        map_fd: number(map),
        key: address(key),
        value: value.as_mut_ptr().addr_u64(),
        ..ElementAttributes::default()
    };
    // SAFETY: both slices outlive the call and have the sizes of the map, by the caller's contract.
    unsafe { call(Command::LookupElement, &mut attributes) }.map(drop)
}

/// Writes one element, whether it exists or not.
pub(super) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attributes = ElementAttributes {
        map_fd: number(map),
        key: address(key),
        value: address(value),
        ..ElementAttributes::default()
    };
    // SAFETY: as in `lookup`; the kernel only reads.
    unsafe { call(Command::UpdateElement, &mut attributes) }.map(drop)
}

/// Removes one element.
pub(super) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut attributes = ElementAttributes {
        map_fd: number(map),
        key: address(key),
        ..ElementAttributes::default()
    };
    // SAFETY: as in `lookup`; the kernel only reads.
    unsafe { call(Command::DeleteElement, &mut attributes) }.map(drop)
}

/// Runs a program once over a packet of these bytes, which leaves nothing behind but what the
/// program does to its maps.
pub(super) fn test_run(program: BorrowedFd<'_>, packet: &[u8]) -> io::Result<()> {
    let mut attributes = TestRunAttributes {
        program_fd: number(program),
        input_length: u32::try_from(packet.len()).unwrap_or(u32::MAX),
        input: address(packet),
        repeat: 1,
        ..TestRunAttributes::default()
    };
    // SAFETY: the packet outlives the call and its length is given; there is no room for output.
    unsafe { call(Command::TestRun, &mut attributes) }.map(drop)
}

/// Reads up to `count` elements after `cursor` and moves it; the first call has no cursor.
/// `keys` and `values` must have room for `count` elements of the map's sizes.
pub(super) fn lookup_batch(
    map: BorrowedFd<'_>,
    cursor: &mut Option<[u8; CURSOR]>,
    (keys, values): (&mut [u8], &mut [u8]),
    count: u32,
) -> Progress {
    let mut next = [0; CURSOR];
    let mut attributes = BatchAttributes {
        in_batch: cursor.as_ref().map_or(0, address),
        out_batch: next.as_mut_ptr().addr_u64(),
        keys: keys.as_mut_ptr().addr_u64(),
        values: values.as_mut_ptr().addr_u64(),
        count,
        map_fd: number(map),
        ..BatchAttributes::default()
    };
    // SAFETY: all buffers outlive the call; the kernel writes at most `count` elements, and a cursor
    // no longer than a key of an array (4 bytes) or than the key size of a hash table: at most
    // `CURSOR`, asserted where a table is opened.
    let result = unsafe { call(Command::LookupBatch, &mut attributes) }.map(drop);
    *cursor = Some(next);
    Progress {
        count: attributes.count as usize,
        result,
    }
}

/// Room for the position inside a map between two calls of [`lookup_batch`].
pub(super) const CURSOR: usize = 64;

/// Writes elements; `keys` and `values` hold `count` elements of the map's sizes.
pub(super) fn update_batch(
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: &[u8],
    count: u32,
) -> Progress {
    let mut attributes = BatchAttributes {
        keys: address(keys),
        values: address(values),
        count,
        map_fd: number(map),
        ..BatchAttributes::default()
    };
    // SAFETY: both slices outlive the call and hold `count` elements; the kernel only reads.
    let result = unsafe { call(Command::UpdateBatch, &mut attributes) }.map(drop);
    Progress {
        count: attributes.count as usize,
        result,
    }
}

/// Removes elements; stops at the first that does not exist.
pub(super) fn delete_batch(map: BorrowedFd<'_>, keys: &[u8], count: u32) -> Progress {
    let mut attributes = BatchAttributes {
        keys: address(keys),
        count,
        map_fd: number(map),
        ..BatchAttributes::default()
    };
    // SAFETY: the slice outlives the call and holds `count` keys; the kernel only reads.
    let result = unsafe { call(Command::DeleteBatch, &mut attributes) }.map(drop);
    Progress {
        count: attributes.count as usize,
        result,
    }
}

/// Opens what is pinned at `path`.
pub(super) fn object_get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attributes = ObjectAttributes {
        path: path.as_ptr().addr_u64(),
        ..ObjectAttributes::default()
    };
    // SAFETY: the string outlives the call and ends with a zero byte.
    unsafe { call(Command::ObjectGet, &mut attributes) }.map(own)
}

/// Pins `object` at `path`, in a BPF file system.
pub(super) fn object_pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attributes = ObjectAttributes {
        path: path.as_ptr().addr_u64(),
        fd: number(object),
        ..ObjectAttributes::default()
    };
    // SAFETY: the string outlives the call and ends with a zero byte.
    unsafe { call(Command::ObjectPin, &mut attributes) }.map(drop)
}

pub(super) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let mut attributes = InfoAttributes {
        fd: number(map),
        length: u32::try_from(size_of::<MapInfo>()).expect("a small struct"),
        info: std::ptr::from_mut(&mut info).addr_u64(),
    };
    // SAFETY: `info` outlives the call and has the length given; the kernel writes no more.
    unsafe { call(Command::ObjectInfo, &mut attributes) }?;
    Ok(info)
}

pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let mut attributes = InfoAttributes {
        fd: number(link),
        length: u32::try_from(size_of::<LinkInfo>()).expect("a small struct"),
        info: std::ptr::from_mut(&mut info).addr_u64(),
    };
    // SAFETY: as in `map_info`.
    unsafe { call(Command::ObjectInfo, &mut attributes) }?;
    Ok(info)
}

/// Attaches `program` behind whatever is attached already.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreateAttributes {
        program_fd: number(program),
        target_ifindex: ifindex,
        attach_type: attach_type as u32,
        ..LinkCreateAttributes::default()
    };
    // SAFETY: there is no address among the attributes.
    unsafe { call(Command::LinkCreate, &mut attributes) }.map(own)
}

/// Attaches `program` behind whatever is attached to the cgroup already.
pub(super) fn link_create_at_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreateAttributes {
        program_fd: number(program),
        // The cgroup's descriptor shares its place with the interface.
        target_ifindex: number(cgroup),
        attach_type,
        ..LinkCreateAttributes::default()
    };
    // SAFETY: there is no address among the attributes.
    unsafe { call(Command::LinkCreate, &mut attributes) }.map(own)
}

/// Replaces the program of `link`; no packet passes in between.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkUpdateAttributes {
        link_fd: number(link),
        program_fd: number(program),
        ..LinkUpdateAttributes::default()
    };
    // SAFETY: there is no address among the attributes.
    unsafe { call(Command::LinkUpdate, &mut attributes) }.map(drop)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
