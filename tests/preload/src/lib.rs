//! Wrong clocks and bad disks for the processes of tests/chaos: preloaded into them (`LD_PRELOAD`), it stands between
//! the program and libc's calls for the wall clock and for writing files, and bends what it is told to bend while the
//! process runs. The program knows nothing of it.
//!
//! `BATON_PRELOAD_CONTROL` names the control page ([`control`]), `BATON_PRELOAD_FOLDER` the folder whose files lie on
//! the bad disk: logs and sockets do not. Without both it changes nothing.
//!
//! - The clock: what `clock_gettime(CLOCK_REALTIME)`, `gettimeofday` and `time` say is shifted. The kernel's own time
//!   is not: file times, and waits until an absolute wall clock time, stay as they are.
//! - The disk: `write`, `pwrite`, `fallocate` and all kinds of sync fail as a full or dead
//!   disk makes them fail, or syncs take their time. Reading and mapped memory go on: a broker writes its log through
//!   the map, so what is seen there is the sync (`msync`), as on a real disk.
//!
//! Everything here may run at any point of the program: nothing allocates, locks or panics.

mod control;

use libc::{c_char, c_int, c_void, clockid_t, off_t, size_t, ssize_t, time_t, timespec, timeval, timezone};
use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, AtomicU64};

/// The mapped control page.
#[repr(C)]
struct Control {
    clock_ms: AtomicI64,
    disk: AtomicU32,
    delay_ms: AtomicU32,
    struck: AtomicU64,
}

const _: () = {
    assert!(std::mem::offset_of!(Control, clock_ms) as u64 == control::AT_CLOCK);
    assert!(std::mem::offset_of!(Control, disk) as u64 == control::AT_DISK);
    assert!(std::mem::offset_of!(Control, delay_ms) as u64 == control::AT_DELAY);
    assert!(std::mem::offset_of!(Control, struck) as u64 == control::AT_STRUCK);
    assert!(size_of::<Control>() as u64 == control::SIZE);
};

/// Null until the page is mapped, then valid for the life of the process.
static CONTROL: AtomicPtr<Control> = AtomicPtr::new(null_mut());
/// The environment's own text, which nobody changes.
static FOLDER: AtomicPtr<c_char> = AtomicPtr::new(null_mut());
static NEXT_CLOCK_GETTIME: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Run by the dynamic linker before the program's `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    // SAFETY: constant names; the environment is not changed while the linker runs constructors; the file is mapped
    // with the size that the test gave it, and never unmapped.
    unsafe {
        let next = libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr());
        NEXT_CLOCK_GETTIME.store(next, Release);
        let page = libc::getenv(c"BATON_PRELOAD_CONTROL".as_ptr());
        let folder = libc::getenv(c"BATON_PRELOAD_FOLDER".as_ptr());
        if page.is_null() || folder.is_null() {
            return;
        }
        let file = libc::open(page, libc::O_RDWR | libc::O_CLOEXEC);
        if file < 0 {
            return;
        }
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let mapped = libc::mmap(null_mut(), control::SIZE as usize, access, libc::MAP_SHARED, file, 0);
        libc::close(file);
        if mapped != libc::MAP_FAILED {
            FOLDER.store(folder, Release);
            CONTROL.store(mapped.cast(), Release);
        }
    }
}

fn control() -> Option<&'static Control> {
    // SAFETY: null, or mapped for good; every field is atomic.
    unsafe { CONTROL.load(Acquire).as_ref() }
}

// ---- clock

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, out: *mut timespec) -> c_int {
    let next = NEXT_CLOCK_GETTIME.load(Acquire);
    // SAFETY: the caller's pointer, passed on as it is; the symbol is libc's function of this signature.
    let answer = unsafe {
        if next.is_null() {
            libc::syscall(libc::SYS_clock_gettime, clock, out) as c_int
        } else {
            let next: unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int = std::mem::transmute(next);
            next(clock, out)
        }
    };
    let ahead = control().map_or(0, |it| it.clock_ms.load(Relaxed));
    if answer == 0 && ahead != 0 && (clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE) {
        // SAFETY: libc has just written it.
        let out = unsafe { &mut *out };
        let nanos = out.tv_nsec + ahead.rem_euclid(1_000) * 1_000_000;
        out.tv_sec += ahead.div_euclid(1_000) + nanos / 1_000_000_000;
        out.tv_nsec = nanos % 1_000_000_000;
    }
    answer
}

fn wall_clock() -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place of ours.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    now
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(out: *mut timeval, _zone: *mut timezone) -> c_int {
    let now = wall_clock();
    // SAFETY: null, or the caller's place for a time.
    if let Some(out) = unsafe { out.as_mut() } {
        *out = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1_000 };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn time(out: *mut time_t) -> time_t {
    let now = wall_clock().tv_sec;
    // SAFETY: null, or the caller's place for a time.
    if let Some(out) = unsafe { out.as_mut() } {
        *out = now;
    }
    now
}

// ---- disk

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    /// Wants room.
    Write,
    /// Goes where room was reserved before.
    Rewrite,
    Sync,
}

/// The error that the call is to end with, if any. Waits where the disk is slow. `file` is `None` for mapped memory,
/// which is always a store's file here.
fn struck(call: Call, file: Option<c_int>) -> Option<c_int> {
    let control = control()?;
    let (error, delay) = match (control.disk.load(Acquire), call) {
        (control::WORKS, _) => return None,
        (control::FULL, Call::Write) => (Some(libc::ENOSPC), 0),
        (control::FAILS, _) => (Some(libc::EIO), 0),
        (control::SLOW, Call::Sync) => (None, control.delay_ms.load(Relaxed)),
        _ => return None,
    };
    if file.is_some_and(|it| !is_below_folder(it)) {
        return None;
    }
    control.struck.fetch_add(1, Relaxed);
    if delay > 0 {
        let wait = timespec { tv_sec: (delay / 1_000).into(), tv_nsec: (delay % 1_000 * 1_000_000).into() };
        // SAFETY: a place of ours.
        unsafe { libc::nanosleep(&wait, null_mut()) };
    }
    error
}

fn is_below_folder(file: c_int) -> bool {
    let mut link = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let (mut rest, mut digits) = (file, 1);
    while rest >= 10 {
        (rest, digits) = (rest / 10, digits + 1);
    }
    rest = file;
    for at in (14..14 + digits).rev() {
        link[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let mut path = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: both buffers are ours, the name ends with a zero.
    let length = unsafe { libc::readlink(link.as_ptr().cast(), path.as_mut_ptr().cast(), path.len()) };
    let folder = FOLDER.load(Acquire);
    if length < 0 || folder.is_null() {
        return false;
    }
    // SAFETY: a variable of the environment ends with a zero.
    let folder = unsafe { CStr::from_ptr(folder) }.to_bytes();
    path[..length as usize].starts_with(folder)
}

fn is_full() -> bool {
    control().is_some_and(|it| it.disk.load(Acquire) == control::FULL)
}

/// Where a file's blocks end that is filled from its beginning, as the store's are.
fn blocks_end(file: c_int) -> off_t {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: a place of ours, read only when libc says that it is filled.
    unsafe { if libc::fstat(file, stat.as_mut_ptr()) == 0 { stat.assume_init().st_blocks * 512 } else { 0 } }
}

fn fail(error: c_int) -> c_int {
    // SAFETY: the thread's own place.
    unsafe { *libc::__errno_location() = error };
    -1
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    match struck(Call::Write, Some(file)) {
        Some(error) => fail(error) as ssize_t,
        // SAFETY: the caller's arguments as they are; so below.
        None => unsafe { libc::syscall(libc::SYS_write, file, bytes, count) as ssize_t },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(file: c_int, bytes: *const c_void, count: size_t, at: off_t) -> ssize_t {
    let has_blocks = || blocks_end(file) >= at.saturating_add(count as off_t);
    let call = if is_full() && has_blocks() { Call::Rewrite } else { Call::Write };
    match struck(call, Some(file)) {
        Some(error) => fail(error) as ssize_t,
        None => unsafe { libc::syscall(libc::SYS_pwrite64, file, bytes, count, at) as ssize_t },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(file: c_int, bytes: *const c_void, count: size_t, at: off_t) -> ssize_t {
    unsafe { pwrite(file, bytes, count, at) }
}

/// A hole costs no block, and so works on a full disk.
#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate(file: c_int, mode: c_int, from: off_t, length: off_t) -> c_int {
    let call = if mode & libc::FALLOC_FL_PUNCH_HOLE == 0 { Call::Write } else { Call::Sync };
    match struck(call, Some(file)) {
        Some(error) => fail(error),
        None => unsafe { libc::syscall(libc::SYS_fallocate, file, mode, from, length) as c_int },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate64(file: c_int, mode: c_int, from: off_t, length: off_t) -> c_int {
    unsafe { fallocate(file, mode, from, length) }
}

/// Answers the error itself.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_fallocate(file: c_int, from: off_t, length: off_t) -> c_int {
    match struck(Call::Write, Some(file)) {
        Some(error) => error,
        None if unsafe { libc::syscall(libc::SYS_fallocate, file, 0, from, length) } == 0 => 0,
        None => unsafe { *libc::__errno_location() },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_fallocate64(file: c_int, from: off_t, length: off_t) -> c_int {
    unsafe { posix_fallocate(file, from, length) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(file: c_int) -> c_int {
    match struck(Call::Sync, Some(file)) {
        Some(error) => fail(error),
        None => unsafe { libc::syscall(libc::SYS_fsync, file) as c_int },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    match struck(Call::Sync, Some(file)) {
        Some(error) => fail(error),
        None => unsafe { libc::syscall(libc::SYS_fdatasync, file) as c_int },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(file: c_int, from: off_t, length: off_t, flags: u32) -> c_int {
    match struck(Call::Sync, Some(file)) {
        Some(error) => fail(error),
        None => unsafe { libc::syscall(libc::SYS_sync_file_range, file, from, length, flags) as c_int },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn msync(from: *mut c_void, length: size_t, flags: c_int) -> c_int {
    match struck(Call::Sync, None) {
        Some(error) => fail(error),
        None => unsafe { libc::syscall(libc::SYS_msync, from, length, flags) as c_int },
    }
}
