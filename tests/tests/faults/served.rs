//! A file of a file system that a hostile program serves: whoever closes it waits for that program, for as long as it likes. So does a
//! process that another thread of the test starts meanwhile, since what it has inherited is closed: these run in a process of their own.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::foes::to_both_ends;
use crate::sections::{ANNOUNCE, MIB, announce, honest};

/// After that, everybody is let close the file: the test has failed by then, and a process cannot end before.
const FAILED: Duration = Duration::from_secs(20);

#[test]
fn a_file_that_is_never_closed() {
    const ALONE: &str = "IPC_RPC_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return never_closed();
    }
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "served::a_file_that_is_never_closed", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{}: {said}{complaint}",
        ended.status
    );
    eprint!("{complaint}");
}

fn never_closed() {
    to_both_ends("a file that is never closed", |victim| {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        File::create(&path).unwrap();
        let Some(served) = Served::mount(&path) else {
            eprintln!("skipped: this user may mount nothing");
            return;
        };
        // As the memory, and as the words beside it.
        for is_words in [false, true] {
            let mut foe = victim.meets();
            let [memory, words] = honest();
            let file = File::open(&path).unwrap();
            let both = if is_words {
                [memory, file.into()]
            } else {
                [file.into(), words]
            };
            foe.tell(&announce(ANNOUNCE, 0, 1, MIB), &both);
            // The victim says why, and goes on with others, before it is let close the file.
            let refused = victim.takes(&mut foe, &[], &[]).unwrap_err();
            assert!(refused.contains("refused: it is something else"), "{refused}");
            for _ in 0..10 {
                victim.hears_its_canary();
            }
            victim.is_left_by(foe);
            // Ours is one more.
            served.let_close();
            served.let_close();
            drop::<[OwnedFd; 2]>(both);
        }
    });
}

/// A file system that consists of one file, and its program, which lets a file be closed when it is told to.
struct Served {
    path: PathBuf,
    let_close: Sender<()>,
}

impl Served {
    /// Puts it in a file's place. None: that is not allowed.
    fn mount(path: &Path) -> Option<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let number = device.as_raw_fd();
        let options = format!("fd={number},rootmode=100000,user_id=0,group_id=0");
        let options = CString::new(options).unwrap();
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("test", path, "fuse", flags, &*options).ok()?;
        let (let_close, may_close) = mpsc::channel();
        thread::spawn(move || answer(device, &may_close));
        let path = path.to_owned();
        Some(Self { path, let_close })
    }

    fn let_close(&self) {
        self.let_close.send(()).unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = unmount(&self.path, UnmountFlags::DETACH);
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
                let _ = may_close.recv_timeout(FAILED);
                (0, Vec::new())
            }
            _ => (-Errno::NOSYS.raw_os_error(), Vec::new()),
        };
        let length = 16 + body.len() as u32;
        let answer = [&length.to_ne_bytes()[..], &error.to_ne_bytes(), unique, &body].concat();
        if device.write(&answer).is_err() {
            return;
        }
    }
}
