//! Memory that its owner writes while the other side reads it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use transports::{Chunk, Endpoint, Header, Sent};

use crate::foes::to_both_ends;
use crate::sections::{ANNOUNCE, MIB, announce, descriptors_of, entry};

/// Bytes of a place that changes.
const LENGTH: u32 = 200_000;

/// A place that this process may write, of a memory that is sealed as it should be, and where that place begins.
///
/// It is a chunk of a pool, whose port has told of the memory that it lies in, to us.
fn writable() -> (Chunk, u32, [OwnedFd; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let endpoint: Endpoint = format!("unix:{}", path.display()).parse().unwrap();
    let mut port = transports::connect(&endpoint, None).unwrap();
    let pool = port.pool.clone().expect("sections go over sockets");
    let [sent, mut kept] = [(); 2].map(|()| pool.alloc(LENGTH as usize).unwrap());
    kept.fill(0xff);
    let block = sent.freeze().unwrap();
    let with = port
        .sender
        .try_send_with(&Header::default(), &[], &mut Vec::new(), &[block]);
    assert_eq!(with.unwrap(), Sent::Accepted);
    let _ = port.sender.flush().unwrap();
    let (socket, _) = listener.accept().unwrap();
    let [memory, words] = descriptors_of(&socket);
    let file = File::from(memory);
    let mut bytes = Vec::new();
    (&file).take(MIB).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, MIB, "it has several places");
    let at = bytes
        .iter()
        .position(|&byte| byte == 0xff)
        .expect("both are in one memory");
    (kept, at as u32, [file.into(), words])
}

/// What the victim has got is a copy of its own: it may be made of what was written at several times, but then it stays.
#[test]
fn memory_that_is_written_while_it_is_read() {
    to_both_ends("memory that is written while it is read", |victim| {
        let (mut chunk, at, both) = writable();
        let watched = File::from(both[0].try_clone().unwrap());
        let mut foe = victim.meets();
        foe.tell(&announce(ANNOUNCE, 0, 1, MIB), &both);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut rounds = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    chunk.fill(if rounds.is_multiple_of(2) { 0 } else { 0xff });
                    rounds += 1;
                }
                rounds
            });
            let over = Over(&is_over);
            for round in 0..200 {
                let place = entry(0, 1, at, LENGTH);
                let looks = victim.takes(&mut foe, &[place], &[(LENGTH.into(), 0)]);
                let looks = looks.expect("what changes is no fault");
                let [(one, other)] = looks[..] else {
                    panic!("{looks:?}")
                };
                assert_eq!(one, other, "round {round}: it has changed since");
                assert!(
                    one % 0xff == 0 && one <= u64::from(LENGTH) * 0xff,
                    "round {round}: {one}"
                );
            }
            drop(over);
            assert!(writer.join().unwrap() > 100, "it was written all the time");
        });
        // It was this memory that the victim saw.
        chunk.fill(2);
        let mut byte = [0];
        watched.read_exact_at(&mut byte, u64::from(at)).unwrap();
        assert_eq!(byte, [2]);
        let place = entry(0, 1, at, LENGTH);
        let sum = 2 * u64::from(LENGTH);
        let looks = victim.takes(&mut foe, &[place], &[(LENGTH.into(), 0)]);
        assert_eq!(looks, Ok(vec![(sum, sum)]));
        victim.is_left_by(foe);
    });
}

/// Ends the writer, also if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
