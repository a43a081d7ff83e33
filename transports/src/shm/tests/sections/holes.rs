//! Memory that loses its pages while it is in use, and a file that a program of the other side's serves.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::*;

/// Takes the pages of a memory away: zeros are in their place.
fn punch(memory: impl AsFd, length: usize) -> Result<(), Errno> {
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(memory, hole, 0, length as u64)
}

#[test]
fn what_is_sealed_loses_no_pages() {
    in_all_ways(|mut port, mut foe| {
        let mut made = Made::new(MIB);
        made.fill(0, MIB, 5);
        foe.tell(announce(0, 1, MIB, 2), &made.both());
        foe.message(&[at(0, MIB)], b"");
        let lease = lease(&mut port);
        assert_eq!(punch(&made.descriptor, MIB), Err(Errno::PERM));
        assert_eq!(copy_of(&lease), vec![5; MIB]);
    });
}

/// Pages that went before are zeros like any others.
#[test]
fn what_has_lost_its_pages_is_zeros() {
    in_all_ways(|mut port, mut foe| {
        let memory = memfd(MIB, SealFlags::empty());
        assert_eq!(rustix::io::pwrite(&memory, &[5; 8192], 0), Ok(8192));
        punch(&memory, 4096).unwrap();
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        fcntl_add_seals(&memory, seals).unwrap();
        let made = Made::new(MIB);
        foe.tell(
            announce(0, 1, MIB, 2),
            &[memory.as_fd(), made.words_descriptor.as_fd()],
        );
        foe.message(&[at(0, 8192)], b"");
        assert_eq!(copy_of(&lease(&mut port)), [[0; 4096], [5; 4096]].concat());
    });
}

/// The words that both sides write cannot be sealed against it: here they are taken away all the time, by the one who made them.
#[test]
fn words_that_go_away_while_sections_are_given_back() {
    in_all_ways(|mut port, mut foe| {
        let mut made = Made::new(MIB);
        made.fill(0, MIB, 5);
        foe.tell(announce(0, 1, MIB, 2), &made.both());
        let punching = punched(made.words_descriptor.try_clone().unwrap());
        for _ in 0..2000 {
            foe.message(&[at(0, 100)], b"");
            assert_eq!(copy_of(&lease(&mut port)), [5; 100]);
        }
        punching.end();
        // What is counted now is there again.
        let before = made.returned(0);
        foe.message(&[at(0, 100)], b"");
        drop(lease(&mut port));
        assert_eq!(made.returned(0), before + 1);
    });
}

/// The same to the one who sends: it learns of nothing that comes back, or of what has not, and goes on.
#[test]
fn words_that_go_away_while_sections_are_sent() {
    in_all_ways(|mut port, foe| {
        let pool = port.pool.clone().unwrap();
        send_one(&mut port, block(&pool, 100));
        let (_, _, descriptors) = super::super::raw::hear(foe.stream());
        let words = SharedWords::attach(descriptors[1].as_fd(), WORDS).unwrap();
        let punching = punched(descriptors[1].try_clone().unwrap());
        for round in 0..2000_usize {
            words.word(round % WORDS).fetch_add(1, Ordering::SeqCst);
            match pool.alloc(Pool::SMALLEST) {
                Ok(chunk) => drop(chunk.freeze().unwrap()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Resource, "{error}"),
            }
            let _ = port.sender.flush().unwrap();
        }
        punching.end();
    });
}

/// A thread that punches holes until it is told to end.
struct Punching(Arc<AtomicBool>, thread::JoinHandle<()>);

/// Starts one, and waits for its first hole.
fn punched(memory: OwnedFd) -> Punching {
    let is_over = Arc::new(AtomicBool::new(false));
    let told = is_over.clone();
    let (begin, begun) = mpsc::channel();
    let thread = thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            punch(&memory, 4096).unwrap();
            let _ = begin.send(());
        }
    });
    begun.recv().unwrap();
    Punching(is_over, thread)
}

impl Punching {
    fn end(self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.join().unwrap();
    }
}

/// A file of a file system of our own, whose last user waits for us when it closes the file.
#[test]
fn a_file_that_is_served_by_nobody() {
    alone("sections::holes::a_file_that_is_served_by_nobody", || {
        let place = Place::new();
        File::create(place.path()).unwrap();
        let Some(served) = Served::mount(&place.path()) else {
            eprintln!("skipped: this user may mount nothing");
            return;
        };
        let made = Made::new(MIB);
        let words = made.words_descriptor.as_fd();
        in_all_ways(|mut port, foe| {
            let file = served.open();
            foe.tell(announce(0, 1, MIB, 2), &[file.as_fd(), words]);
            // Each descriptor that is closed has to be let: this one is.
            served.let_close();
            drop(file);
            // The victim's is not, and it must not wait for that.
            let error = end_of(&mut port).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
            served.let_close();
        });
    });
}

/// A file system that consists of one file, and its program, which lets a file be closed when it is told to.
struct Served {
    path: std::path::PathBuf,
    let_close: Sender<()>,
}

impl Served {
    /// Puts it in a file's place. None: that is not allowed.
    fn mount(path: &Path) -> Option<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let target = CString::new(path.as_os_str().as_bytes()).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&device);
        let options = format!("fd={number},rootmode=100000,user_id=0,group_id=0");
        let options = CString::new(options).unwrap();
        // SAFETY: all of them are strings that end and outlive the call.
        let mounted = unsafe {
            libc::mount(
                c"test".as_ptr(),
                target.as_ptr(),
                c"fuse".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                options.as_ptr().cast(),
            )
        };
        if mounted != 0 {
            return None;
        }
        let (let_close, may_close) = mpsc::channel();
        thread::spawn(move || answer(device, &may_close));
        let path = path.to_owned();
        Some(Self { path, let_close })
    }

    fn open(&self) -> OwnedFd {
        open(&self.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    fn let_close(&self) {
        self.let_close.send(()).unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let target = CString::new(self.path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a string that ends and outlives the call.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

/// Answers what the system asks: as little as it takes to open a file, and to close it. See linux/fuse.h.
fn answer(mut device: File, may_close: &Receiver<()>) {
    const OPEN: u32 = 14;
    const FLUSH: u32 = 25;
    const INIT: u32 = 26;
    /// Forgetting a file, an interrupt, and forgetting several.
    const UNANSWERED: [u32; 3] = [2, 36, 42];
    let mut request = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut request) {
        assert!(length >= 40, "a request has a header");
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let (operation, unique) = (word(4), &request[8..16]);
        if UNANSWERED.contains(&operation) {
            continue;
        }
        let (error, body) = match operation {
            INIT => (0, {
                let mut version = vec![0; 64];
                version[..4].copy_from_slice(&7_u32.to_ne_bytes());
                version[4..8].copy_from_slice(&31_u32.to_ne_bytes());
                // The most that is written at once.
                version[20..24].copy_from_slice(&4096_u32.to_ne_bytes());
                version
            }),
            OPEN => (0, vec![0; 16]),
            FLUSH => {
                // At the end of the test, nobody waits for it.
                let _ = may_close.recv();
                (0, Vec::new())
            }
            _ => (-libc::ENOSYS, Vec::new()),
        };
        let length = 16 + body.len() as u32;
        let answer = [&length.to_ne_bytes()[..], &error.to_ne_bytes(), unique, &body].concat();
        if device.write(&answer).is_err() {
            return;
        }
    }
}
