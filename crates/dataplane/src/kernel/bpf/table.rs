//! A BPF map as a table of our own types.
#![expect(unsafe_code, reason = "plain data is handed to the kernel as bytes")]

use std::io;
use std::iter::{Take, Zip};
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::vec;

use aya::Pod;

use super::sys::{self, Progress};

/// Elements in one system call.
const CHUNK: usize = 4096;

/// Plain data that begins as zeroes.
pub(crate) trait Plain: Pod + Default {}
impl<T: Pod + Default> Plain for T {}

/// A map whose keys are `K` and whose values are `V`: checked when it is opened.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    name: &'static str,
    fd: OwnedFd,
    capacity: u32,
    types: PhantomData<fn() -> (K, V)>,
}

/// Elements that one system call has read.
type Chunk<K, V> = Take<Zip<vec::IntoIter<K>, vec::IntoIter<V>>>;

/// A map cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// The object of the kernel programs does not define it.
    #[error("map {0} does not exist")]
    Missing(&'static str),
    /// Its layout is another one: the object does not belong to this build.
    #[error("map {name} has keys of {key} and values of {value} bytes")]
    Layout {
        name: &'static str,
        key: u32,
        value: u32,
    },
    /// There is no room; what was done before remains.
    #[error("map {name} is full: it holds {capacity} entries")]
    Full { name: &'static str, capacity: u32 },
    /// The kernel refused; what was done before remains.
    #[error("{action} map {name}")]
    Kernel {
        action: &'static str,
        name: &'static str,
        #[source]
        source: io::Error,
    },
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Takes the map behind `fd`.
    pub(crate) fn new(name: &'static str, fd: OwnedFd) -> Result<Self, TableError> {
        let info = sys::map_info(fd.as_fd()).map_err(|source| TableError::Kernel {
            action: "inspect",
            name,
            source,
        })?;
        const { assert!(size_of::<K>() <= sys::CURSOR) };
        if (info.key_size as usize, info.value_size as usize) != (size_of::<K>(), size_of::<V>()) {
            return Err(TableError::Layout {
                name,
                key: info.key_size,
                value: info.value_size,
            });
        }
        Ok(Self {
            name,
            fd,
            capacity: info.max_entries,
            types: PhantomData,
        })
    }

    /// How many elements the map can hold.
    pub(crate) const fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(crate) fn get(&self, key: &K) -> Result<Option<V>, TableError> {
        let mut value = V::default();
        match sys::lookup(self.fd.as_fd(), bytes(key), bytes_mut(&mut value)) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(self.error("read", source)),
        }
    }

    pub(crate) fn put(&self, key: &K, value: &V) -> Result<(), TableError> {
        sys::update(self.fd.as_fd(), bytes(key), bytes(value)).map_err(|it| self.unwritten(it))
    }

    /// Removes one element; tells whether it was there.
    pub(crate) fn remove(&self, key: &K) -> Result<bool, TableError> {
        match sys::delete(self.fd.as_fd(), bytes(key)) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(source) => Err(self.error("remove from", source)),
        }
    }

    /// Every element. What changes meanwhile may be seen or not; an element that is never touched
    /// is seen.
    pub(crate) fn entries(&self) -> Result<Vec<(K, V)>, TableError> {
        let mut entries = Vec::new();
        self.scan(|chunk| entries.extend(chunk))?;
        Ok(entries)
    }

    /// The same without keeping them: how many satisfy `is_meant`.
    pub(crate) fn count(&self, is_meant: impl Fn(&K, &V) -> bool) -> Result<usize, TableError> {
        let mut count = 0;
        self.scan(|chunk| count += chunk.filter(|(key, value)| is_meant(key, value)).count())?;
        Ok(count)
    }

    fn scan(&self, mut take: impl FnMut(Chunk<K, V>)) -> Result<(), TableError> {
        let mut cursor = None;
        let mut chunk = CHUNK.min(self.capacity.max(1) as usize);
        loop {
            let mut keys = vec![K::default(); chunk];
            let mut values = vec![V::default(); chunk];
            let start = cursor;
            let Progress { count, result } = sys::lookup_batch(
                self.fd.as_fd(),
                &mut cursor,
                (slice_mut(&mut keys), slice_mut(&mut values)),
                u32::try_from(chunk).unwrap_or(u32::MAX),
            );
            let end = match result {
                Ok(()) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                // One bucket of the hash table holds more than fits: again, with more room.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    chunk *= 2;
                    cursor = start;
                    continue;
                }
                Err(source) => return Err(self.error("list", source)),
            };
            take(keys.into_iter().zip(values).take(count));
            if end {
                return Ok(());
            }
        }
    }

    /// Writes elements in batches, in order.
    pub(crate) fn put_all(&self, entries: &[(K, V)]) -> Result<(), TableError> {
        for chunk in entries.chunks(CHUNK) {
            let (keys, values): (Vec<K>, Vec<V>) = chunk.iter().copied().unzip();
            let count = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            sys::update_batch(self.fd.as_fd(), slice(&keys), slice(&values), count)
                .result
                .map_err(|source| self.unwritten(source))?;
        }
        Ok(())
    }

    /// Removes elements in batches; those that do not exist are passed over. Returns how many did.
    pub(crate) fn remove_all(&self, keys: &[K]) -> Result<usize, TableError> {
        let mut removed = 0;
        for mut chunk in keys.chunks(CHUNK) {
            while !chunk.is_empty() {
                let count = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                let progress = sys::delete_batch(self.fd.as_fd(), slice(chunk), count);
                let done = progress.count.min(chunk.len());
                removed += done;
                match progress.result {
                    Ok(()) => break,
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                        chunk = chunk.get(done + 1..).unwrap_or_default();
                    }
                    Err(source) => return Err(self.error("remove from", source)),
                }
            }
        }
        Ok(removed)
    }

    fn unwritten(&self, source: io::Error) -> TableError {
        if source.raw_os_error() == Some(libc::E2BIG) {
            return TableError::Full {
                name: self.name,
                capacity: self.capacity,
            };
        }
        self.error("write", source)
    }

    fn error(&self, action: &'static str, source: io::Error) -> TableError {
        TableError::Kernel {
            action,
            name: self.name,
            source,
        }
    }
}

impl<V: Plain> Table<u32, V> {
    /// A range of an array.
    pub(crate) fn range(&self, range: Range<u32>) -> Result<Vec<V>, TableError> {
        let length = range.end.saturating_sub(range.start);
        let mut keys = vec![0u32; length as usize];
        let mut values = vec![V::default(); length as usize];
        // The cursor of an array is the index before the next.
        let mut cursor = range.start.checked_sub(1).map(|before| {
            let mut cursor = [0; sys::CURSOR];
            cursor[..4].copy_from_slice(&before.to_ne_bytes());
            cursor
        });
        let buffers = (slice_mut(&mut keys), slice_mut(&mut values));
        let progress = sys::lookup_batch(self.fd.as_fd(), &mut cursor, buffers, length);
        match progress.result {
            Err(source) if source.raw_os_error() != Some(libc::ENOENT) => {
                Err(self.error("list", source))
            }
            Ok(()) | Err(_) => {
                values.truncate(progress.count);
                Ok(values)
            }
        }
    }
}

/// A per-CPU array.
#[derive(Debug)]
pub(crate) struct CpuTable<V> {
    name: &'static str,
    fd: OwnedFd,
    cpus: usize,
    types: PhantomData<fn() -> V>,
}

impl<V: Plain> CpuTable<V> {
    /// Takes the map behind `fd`. Values are multiples of 8 bytes, so that the kernel's rounding
    /// leaves no gap between CPUs.
    pub(crate) fn new(name: &'static str, fd: OwnedFd) -> Result<Self, TableError> {
        const { assert!(size_of::<V>().is_multiple_of(8)) };
        let kernel = |source| TableError::Kernel {
            action: "inspect",
            name,
            source,
        };
        let info = sys::map_info(fd.as_fd()).map_err(kernel)?;
        if (info.key_size as usize, info.value_size as usize) != (4, size_of::<V>()) {
            return Err(TableError::Layout {
                name,
                key: info.key_size,
                value: info.value_size,
            });
        }
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| kernel(source))?;
        Ok(Self {
            name,
            fd,
            cpus,
            types: PhantomData,
        })
    }

    /// The element of every possible CPU.
    pub(crate) fn get(&self, index: u32) -> Result<Vec<V>, TableError> {
        let mut values = vec![V::default(); self.cpus];
        sys::lookup(self.fd.as_fd(), bytes(&index), slice_mut(&mut values)).map_err(|source| {
            TableError::Kernel {
                action: "read",
                name: self.name,
                source,
            }
        })?;
        Ok(values)
    }
}

fn bytes<T: Pod>(value: &T) -> &[u8] {
    slice(std::slice::from_ref(value))
}

fn bytes_mut<T: Pod>(value: &mut T) -> &mut [u8] {
    slice_mut(std::slice::from_mut(value))
}

pub(super) fn slice<T: Pod>(values: &[T]) -> &[u8] {
    // SAFETY: `Pod` promises that every byte of a value is initialised; the length is that of the
    // slice itself, and the borrow is kept.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

fn slice_mut<T: Pod>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `slice`; `Pod` promises in addition that every pattern of bytes is a value.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// Copies a value out of bytes of exactly its length.
pub(crate) fn read<T: Plain>(source: &[u8]) -> Option<T> {
    let mut value = T::default();
    let target = bytes_mut(&mut value);
    if target.len() != source.len() {
        return None;
    }
    target.copy_from_slice(source);
    Some(value)
}
