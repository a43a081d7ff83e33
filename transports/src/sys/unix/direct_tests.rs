//! With real processes: what is read, and what is refused.
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, and clippy knows only functions marked as tests"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, ptr, thread};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::*;

/// Set for the child.
const VARIABLE: &str = "TRANSPORTS_TEST_DIRECT";
/// What the child's memory is like at position `index`.
fn pattern(index: usize) -> u8 {
    (index ^ index >> 8 ^ index >> 16) as u8
}

/// A child that shows some memory, and lives until its input ends.
struct Shown {
    process: Child,
    input: Option<ChildStdin>,
    /// It may print more.
    _output: BufReader<ChildStdout>,
    address: u64,
}

impl Shown {
    /// Runs `test` once more, as a child that does what `kind` says in [`child`].
    fn start(test: &str, kind: &str) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("sys::unix::direct::tests::{test}")])
            .args(["--nocapture", "--test-threads=1"])
            .env(VARIABLE, kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let lines = output.by_ref().lines();
        let address = lines.map_while(Result::ok).find_map(|line| {
            line.split_once("address ")
                .and_then(|(_, told)| told.parse().ok())
        });
        Self {
            input: process.stdin.take(),
            _output: output,
            process,
            address: address.expect("the child shows where its memory is"),
        }
    }

    fn neighbour(&self) -> Neighbour {
        let pid = Pid::from_child(&self.process);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        Neighbour::new(pidfd.into()).unwrap()
    }

    fn end(mut self) {
        drop(self.input.take());
        self.process.wait().unwrap();
    }
}

/// In a child: shows memory of `length` bytes and waits.
fn show(address: usize) {
    println!("address {address}");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

/// Whether this is a child, which then has done its part.
fn child() -> bool {
    let Some(kind) = env::var_os(VARIABLE) else {
        return false;
    };
    match kind.to_str().unwrap() {
        "memory" => {
            let memory: Vec<u8> = (0..5 << 20).map(pattern).collect();
            show(memory.as_ptr() as usize);
        }
        "hole" => {
            // Two pages that can be read, and one that cannot.
            let page = rustix::param::page_size();
            let flags = MapFlags::PRIVATE;
            let access = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: new memory, at an address that the system chooses.
            let start =
                unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), 3 * page, access, flags) }.unwrap();
            // SAFETY: within what was mapped.
            let last = unsafe { start.byte_add(2 * page) };
            // SAFETY: the page is this test's, which never touches it.
            unsafe { rustix::mm::mprotect(last, page, MprotectFlags::empty()) }.unwrap();
            show(start as usize);
        }
        "stalled" => {
            let (_userfault, start) = stalled();
            show(start);
        }
        "secretive" => {
            let memory: Vec<u8> = (0..100).map(pattern).collect();
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).unwrap();
            show(memory.as_ptr() as usize);
        }
        other => panic!("{other} is no kind of child"),
    }
    true
}

/// Two pages of memory whose first access does not end before the descriptor is closed; zeros then. No address where the
/// system has no such thing.
pub(crate) fn stalled() -> (Option<std::os::fd::OwnedFd>, usize) {
    use std::os::fd::FromRawFd;
    /// linux/userfaultfd.h
    #[repr(C)]
    struct Api {
        api: u64,
        features: u64,
        ioctls: u64,
    }
    #[repr(C)]
    struct Register {
        start: u64,
        length: u64,
        mode: u64,
        ioctls: u64,
    }
    const API: u64 = 0xaa;
    const MODE_MISSING: u64 = 1;
    const UFFDIO_API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
    const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
    // SAFETY: makes a descriptor, or fails.
    let userfault = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
    if userfault < 0 {
        return (None, 0);
    }
    // SAFETY: the system has just made this descriptor, and nobody else knows it.
    let userfault = unsafe { std::os::fd::OwnedFd::from_raw_fd(userfault as i32) };
    let mut api = Api {
        api: API,
        features: 0,
        ioctls: 0,
    };
    // SAFETY: the descriptor is open, and the request takes such a struct.
    assert_eq!(0, unsafe {
        libc::ioctl(userfault.as_raw_fd(), UFFDIO_API, &mut api)
    });
    let length = 2 * rustix::param::page_size();
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: new memory, at an address that the system chooses.
    let start = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), length, access, flags) }.unwrap();
    let mut register = Register {
        start: start as u64,
        length: length as u64,
        mode: MODE_MISSING,
        ioctls: 0,
    };
    // SAFETY: the descriptor is open, and the request takes such a struct; the memory is this test's.
    assert_eq!(0, unsafe {
        libc::ioctl(userfault.as_raw_fd(), UFFDIO_REGISTER, &mut register)
    });
    (Some(userfault), start as usize)
}

#[test]
fn bytes_that_take_a_detour_are_the_same() {
    if child() {
        return;
    }
    let shown = Shown::start("bytes_that_take_a_detour_are_the_same", "memory");
    let neighbour = shown.neighbour();
    let length = 2 * DETOUR + 77;
    for behind in [0, 1, 8, 63, 64, 4095] {
        let mut into = Vec::with_capacity(length + PAGE);
        let offset = (shown.address as usize + behind).wrapping_sub(into.as_ptr() as usize) % PAGE;
        into.resize(offset, 7);
        neighbour.copy(shown.address, length, &mut into, || true).unwrap();
        assert_eq!(into.len(), offset + length);
        assert!(
            into[offset..]
                .iter()
                .enumerate()
                .all(|(index, &byte)| byte == pattern(index))
        );
    }
    shown.end();
}

fn copied(neighbour: &Neighbour, address: u64, length: usize) -> Result<Vec<u8>, Unreadable> {
    let mut into = Vec::with_capacity(length + 6);
    into.extend_from_slice(b"canary");
    let copied = neighbour.copy(address, length, &mut into, || true);
    assert_eq!(into[..6], *b"canary");
    assert_eq!(into.len(), 6 + copied.as_ref().map_or(0, |()| length));
    copied.map(|()| into.split_off(6))
}

#[test]
fn exactly_what_was_asked_for_is_read() {
    if child() {
        return;
    }
    let shown = Shown::start("exactly_what_was_asked_for_is_read", "memory");
    let neighbour = shown.neighbour();
    for (offset, length) in [
        (0, 0),
        (0, 1),
        (1, 4095),
        (3, STEP),
        (0, STEP + 1),
        (7, 4 * STEP + 9),
    ] {
        let expected: Vec<u8> = (offset..offset + length).map(pattern).collect();
        let read = copied(&neighbour, shown.address + offset as u64, length).unwrap();
        assert!(read == expected, "{length} bytes from {offset} on are others");
    }
    shown.end();
}

#[test]
fn what_is_not_there_is_no_memory() {
    if child() {
        return;
    }
    let shown = Shown::start("what_is_not_there_is_no_memory", "hole");
    let neighbour = shown.neighbour();
    let page = rustix::param::page_size();
    assert_eq!(
        copied(&neighbour, shown.address, 2 * page).unwrap(),
        vec![0; 2 * page]
    );
    // A short count first, then nothing.
    let (address, all) = (shown.address, 3 * page);
    for (address, length) in [
        (address, all),
        (address + 1, 2 * page),
        (address + 2 * page as u64, 1),
        (0, 1),
        (8, 100),
        (u64::MAX, 1),
        (u64::MAX - 10, 100),
        // Memory of the kernel's.
        (0xffff_8000_0000_0000, 64),
    ] {
        let read = copied(&neighbour, address, length);
        assert!(
            matches!(read, Err(Unreadable::Absent)),
            "{address:x}, {length}: {read:?}"
        );
    }
    shown.end();
}

#[test]
fn a_copy_that_nobody_wants_any_more_ends_between_two_steps() {
    if child() {
        return;
    }
    let shown = Shown::start(
        "a_copy_that_nobody_wants_any_more_ends_between_two_steps",
        "memory",
    );
    let asked = std::cell::Cell::new(0);
    let wanted = || {
        asked.set(asked.get() + 1);
        asked.get() < 3
    };
    let mut into = Vec::with_capacity(4 * STEP);
    let copied = shown.neighbour().copy(shown.address, 4 * STEP, &mut into, wanted);
    assert!(matches!(copied, Err(Unreadable::Unwanted)) && into.is_empty());
    assert_eq!(asked.get(), 3);
    shown.end();
}

#[test]
fn nobody_reads_the_memory_of_whoever_has_the_number_next() {
    if child() {
        return;
    }
    let test = "nobody_reads_the_memory_of_whoever_has_the_number_next";
    let shown = Shown::start(test, "memory");
    // As if the number had gone from one that has ended to one that lives: the number is the one's, the pidfd the other's.
    let mut ended = Command::new("true").spawn().unwrap();
    let pidfd = pidfd_open(Pid::from_child(&ended), PidfdFlags::empty()).unwrap();
    ended.wait().unwrap();
    let stale = Neighbour {
        number: shown.process.id().try_into().unwrap(),
        life: pidfd.into(),
    };
    let read = copied(&stale, shown.address, 100);
    assert!(matches!(read, Err(Unreadable::Gone)), "{read:?}");
    assert!(
        copied(&shown.neighbour(), shown.address, 100).is_ok(),
        "the number is right"
    );
    shown.end();
}

#[test]
fn one_that_has_ended_is_gone() {
    if child() {
        return;
    }
    let mut shown = Shown::start("one_that_has_ended_is_gone", "memory");
    let neighbour = shown.neighbour();
    shown.process.kill().unwrap();
    // Dead, and not waited for: the number is still its own.
    rustix::process::waitid(
        rustix::process::WaitId::Pid(Pid::from_child(&shown.process)),
        rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
    )
    .unwrap();
    let read = copied(&neighbour, shown.address, 1);
    assert!(matches!(read, Err(Unreadable::Gone)), "{read:?}");
    shown.process.wait().unwrap();
    let read = copied(&neighbour, shown.address, 1);
    assert!(matches!(read, Err(Unreadable::Gone)), "{read:?}");
    let pidfd = neighbour.life;
    assert!(matches!(Neighbour::new(pidfd), Err(Unreadable::Gone)));
}

#[test]
fn memory_that_stalls_is_let_go_of_when_its_process_dies() {
    if child() {
        return;
    }
    let test = "memory_that_stalls_is_let_go_of_when_its_process_dies";
    let mut shown = Shown::start(test, "stalled");
    if shown.address == 0 {
        eprintln!("skipped: this system gives this user no userfaultfd");
        return shown.end();
    }
    let neighbour = shown.neighbour();
    let address = shown.address;
    let (done, ended) = mpsc::channel();
    let reader = thread::spawn(move || done.send(copied(&neighbour, address, 100)));
    let stalls = ended.recv_timeout(Duration::from_millis(200));
    assert!(stalls.is_err(), "it was to stall: {stalls:?}");
    shown.process.kill().unwrap();
    let read = ended.recv_timeout(Duration::from_secs(10)).unwrap();
    // The system closes what served the memory, which is zeros from then on, a moment before it tells of the end.
    match &read {
        Ok(read) => assert_eq!(read, &[0; 100]),
        Err(error) => assert!(
            matches!(error, Unreadable::Gone | Unreadable::Absent),
            "{error:?}"
        ),
    }
    reader.join().unwrap().unwrap();
    shown.process.wait().unwrap();
}

/// Without the capability to look into every process, which root has, in this thread alone.
fn without_capabilities<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let lose = || {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, none).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(lose).join().unwrap())
}

#[test]
fn a_process_that_may_not_be_looked_into_denies_it() {
    if child() {
        return;
    }
    let test = "a_process_that_may_not_be_looked_into_denies_it";
    let shown = Shown::start(test, "secretive");
    let neighbour = shown.neighbour();
    let read = without_capabilities(|| copied(&neighbour, shown.address, 100));
    assert!(matches!(read, Err(Unreadable::Denied(_))), "{read:?}");
    shown.end();
}

/// In this thread alone, the call fails with this error, as sandboxes have it.
fn with_filter<R: Send>(error: i32, work: impl FnOnce() -> R + Send) -> R {
    const fn statement(code: u32, value: u32) -> libc::sock_filter {
        libc::sock_filter {
            code: code as u16,
            jt: 0,
            jf: 0,
            k: value,
        }
    }
    let number = libc::SYS_process_vm_readv as u32;
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number)
        },
        statement(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | error as u32),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        rustix::thread::set_no_new_privs(true).unwrap();
        // SAFETY: the program is four statements that live as long as the call. It concerns this thread alone.
        let result = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        work()
    };
    thread::scope(|scope| scope.spawn(install).join().unwrap())
}

#[test]
fn a_sandbox_denies_it() {
    if child() {
        return;
    }
    let shown = Shown::start("a_sandbox_denies_it", "memory");
    let neighbour = shown.neighbour();
    for error in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
        let read = with_filter(error, || copied(&neighbour, shown.address, 100));
        let Err(Unreadable::Denied(told)) = read else {
            panic!("{read:?}");
        };
        assert_eq!(told.raw_os_error(), Some(error));
    }
    assert!(copied(&neighbour, shown.address, 100).is_ok());
    shown.end();
}

#[test]
fn pipes_do_not_tell_whose_they_are() {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let stream = Stream::pipes(read, write, super::super::stream::Witness::Nobody);
    let neighbour = Neighbour::of(&stream).err();
    assert!(matches!(neighbour, Some(Unreadable::Denied(_))), "{neighbour:?}");
}
