//! The rings over the system's memory, alone and with the worst of neighbours.
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, and clippy knows only functions marked as tests"
)]

mod bell;
mod child;
mod copying;
mod crashes;
mod cut;
mod hostile;
mod meeting;
mod pieces;
mod port;
mod raw;
mod ring;
mod section_crashes;
mod sections;
mod sharing;

use std::os::fd::AsFd;
use std::sync::Arc;

use super::{Consumer, Layout, Producer};
use crate::Header;
use crate::sys::{OwnMemory, PeerMemory};

/// What one side of a connection holds.
struct Side {
    own: Arc<OwnMemory>,
    peer: Arc<PeerMemory>,
}

impl Side {
    fn producer(&self, layout: Layout) -> Producer {
        Producer::new(Arc::clone(&self.own), Arc::clone(&self.peer), layout)
    }

    fn consumer(&self, layout: Layout) -> Consumer {
        Consumer::new(Arc::clone(&self.own), Arc::clone(&self.peer), layout)
    }
}

/// Both sides of a connection, in one process, by two mappings of each memory.
fn sides(layout: Layout) -> [Side; 2] {
    let [(one, ones), (two, twos)] = [(); 2].map(|()| OwnMemory::create(layout.memory()).unwrap());
    let attach = |memory: &std::os::fd::OwnedFd| {
        Arc::new(PeerMemory::attach(memory.as_fd(), layout.memory()).unwrap())
    };
    let peers = [attach(&twos), attach(&ones)];
    let [own, other] = [one, two].map(Arc::new);
    let [peer, others] = peers;
    [
        Side { own, peer },
        Side {
            own: other,
            peer: others,
        },
    ]
}

/// A ring that leads from the first to the second.
fn ring(layout: Layout) -> (Producer, Consumer) {
    let [one, two] = sides(layout);
    (one.producer(layout), two.consumer(layout))
}

fn header(id: u64) -> Header {
    Header {
        kind: 3,
        flags: 0x41,
        sections: 1,
        handles: 255,
        id,
        ordinal: !id,
        extra: id.rotate_left(17),
        ..Header::default()
    }
}

/// As sockets carry it, too: the highest bit of the flags is for ports alone.
fn header_without_attachments(id: u64) -> Header {
    Header {
        flags: 1,
        sections: 0,
        handles: 0,
        ..header(id)
    }
}

/// Numbers that look random, the same each time: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
