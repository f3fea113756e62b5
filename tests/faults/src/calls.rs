//! The calls of the C library that the broker's files go through, each as its system call or as its failure.
//!
//! Signatures are those of the C library on 64-bit Linux; the `64` names are the same calls there.

use crate::{Call, Fate, die, fail, fate_of_file, fate_of_path};
use libc::{c_char, c_int, c_long, c_uint, c_void, iovec, mode_t, off_t, size_t, ssize_t};

/// A call that moves bytes.
fn moved(call: Call, file: c_int, asked: usize, now: impl Fn(usize) -> c_long) -> ssize_t {
    let done = match fate_of_file(call, file, asked) {
        Fate::Done => now(asked),
        Fate::Fails(errno) => fail(errno),
        Fate::Short(0) => 0,
        Fate::Short(bytes) => now(bytes),
        Fate::Torn(bytes) => {
            if bytes > 0 {
                now(bytes);
            }
            die()
        }
    };
    ssize_t::try_from(done).unwrap_or(-1)
}

/// A call that is done or not.
fn done(fate: Fate, now: impl FnOnce() -> c_long) -> c_int {
    let done = match fate {
        Fate::Done | Fate::Short(_) => now(),
        Fate::Fails(errno) => fail(errno),
        Fate::Torn(_) => die(),
    };
    c_int::try_from(done).unwrap_or(-1)
}

macro_rules! intercepted {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $kind:ty),*) -> $result:ty $body:block)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As for the call of that name.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($argument: $kind),*) -> $result $body
    )*};
}

intercepted! {
    /// write(2).
    fn write(file: c_int, from: *const c_void, count: size_t) -> ssize_t {
        // SAFETY: the caller's buffer, no longer than it said.
        moved(Call::Write, file, count, |count| unsafe {
            libc::syscall(libc::SYS_write, file, from, count)
        })
    }
    /// pwrite(2).
    fn pwrite(file: c_int, from: *const c_void, count: size_t, at: off_t) -> ssize_t {
        // SAFETY: the caller's buffer, no longer than it said.
        moved(Call::Write, file, count, |count| unsafe {
            libc::syscall(libc::SYS_pwrite64, file, from, count, at)
        })
    }
    /// pwrite64(2).
    fn pwrite64(file: c_int, from: *const c_void, count: size_t, at: off_t) -> ssize_t {
        // SAFETY: the same call.
        unsafe { pwrite(file, from, count, at) }
    }
    /// writev(2): a short one does its first part, or some of it.
    fn writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t {
        let length = usize::try_from(count).unwrap_or(0);
        let mut sum = 0;
        let mut first = std::ptr::null::<c_void>();
        for at in 0..length {
            // SAFETY: the caller says there are so many.
            let part = unsafe { &*parts.add(at) };
            sum += part.iov_len;
            if first.is_null() && part.iov_len > 0 {
                first = part.iov_base;
            }
        }
        moved(Call::Write, file, sum, |bytes| {
            if bytes == sum {
                // SAFETY: as the caller gave it.
                return unsafe { libc::syscall(libc::SYS_writev, file, parts, count) };
            }
            let mut left = bytes;
            for at in 0..length {
                // SAFETY: the caller says there are so many.
                let part = unsafe { &*parts.add(at) };
                let now = part.iov_len.min(left);
                // SAFETY: no more than the part has.
                let wrote = unsafe { libc::syscall(libc::SYS_write, file, part.iov_base, now) };
                if wrote < 0 {
                    return wrote;
                }
                left -= now;
                if left == 0 {
                    break;
                }
            }
            c_long::try_from(bytes).unwrap_or(-1)
        })
    }
    /// read(2).
    fn read(file: c_int, to: *mut c_void, count: size_t) -> ssize_t {
        // SAFETY: the caller's buffer, no longer than it said.
        moved(Call::Read, file, count, |count| unsafe {
            libc::syscall(libc::SYS_read, file, to, count)
        })
    }
    /// pread(2).
    fn pread(file: c_int, to: *mut c_void, count: size_t, at: off_t) -> ssize_t {
        // SAFETY: the caller's buffer, no longer than it said.
        moved(Call::Read, file, count, |count| unsafe {
            libc::syscall(libc::SYS_pread64, file, to, count, at)
        })
    }
    /// pread64(2).
    fn pread64(file: c_int, to: *mut c_void, count: size_t, at: off_t) -> ssize_t {
        // SAFETY: the same call.
        unsafe { pread(file, to, count, at) }
    }
    /// fsync(2).
    fn fsync(file: c_int) -> c_int {
        // SAFETY: no memory.
        done(fate_of_file(Call::Sync, file, 0), || unsafe { libc::syscall(libc::SYS_fsync, file) })
    }
    /// fdatasync(2).
    fn fdatasync(file: c_int) -> c_int {
        // SAFETY: no memory.
        done(fate_of_file(Call::Sync, file, 0), || unsafe { libc::syscall(libc::SYS_fdatasync, file) })
    }
    /// ftruncate(2).
    fn ftruncate(file: c_int, length: off_t) -> c_int {
        // SAFETY: no memory.
        done(fate_of_file(Call::Truncate, file, 0), || unsafe {
            libc::syscall(libc::SYS_ftruncate, file, length)
        })
    }
    /// ftruncate64(2).
    fn ftruncate64(file: c_int, length: off_t) -> c_int {
        // SAFETY: the same call.
        unsafe { ftruncate(file, length) }
    }
    /// openat(2). The mode is there whether the caller gave one or not; the system looks at it only if it counts.
    fn openat(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        let is_for_writing = flags & (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT) != 0;
        let fate = match is_for_writing {
            // SAFETY: a path of the caller.
            true => unsafe { fate_of_path(Call::Open, path) },
            false => Fate::Done,
        };
        // SAFETY: a path of the caller.
        done(fate, || unsafe { libc::syscall(libc::SYS_openat, folder, path, flags, c_uint::from(mode)) })
    }
    /// openat64(2).
    fn openat64(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        // SAFETY: the same call.
        unsafe { openat(folder, path, flags, mode) }
    }
    /// open(2).
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        // SAFETY: the same call.
        unsafe { openat(libc::AT_FDCWD, path, flags, mode) }
    }
    /// open64(2).
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        // SAFETY: the same call.
        unsafe { openat(libc::AT_FDCWD, path, flags, mode) }
    }
    /// rename(2).
    fn rename(from: *const c_char, to: *const c_char) -> c_int {
        // SAFETY: a path of the caller.
        let fate = unsafe { fate_of_path(Call::Rename, to) };
        // SAFETY: paths of the caller.
        done(fate, || unsafe {
            libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
        })
    }
    /// unlink(2).
    fn unlink(path: *const c_char) -> c_int {
        // SAFETY: a path of the caller.
        let fate = unsafe { fate_of_path(Call::Unlink, path) };
        // SAFETY: a path of the caller.
        done(fate, || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) })
    }
}
