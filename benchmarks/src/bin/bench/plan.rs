//! Which cases are measured, and where.

use bench_harness::{Case, Load, Mode, Offer, Placement, SMALL};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The sizes of `echo` and `sum`.
pub(crate) const SIZES: [usize; 7] = [SMALL, KIB, 4 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB];
/// Calls in flight on one connection.
pub(crate) const IN_FLIGHT: [usize; 4] = [1, 8, 64, 512];
/// Bytes in the large calls of LRPC.
const LRPC: usize = 200;
/// Idle connections, beside one.
pub(crate) const MANY: usize = 1000;

/// Transports of ours, and floors, that show little that the others do not: measured in fewer cases.
const SECONDARY: [&str; 3] = ["pipe", "tcp", "mem"];

/// Every load, in the order of the tables. Systems say themselves which of them they carry.
pub(crate) fn loads() -> Vec<Load> {
    let load = |case, size, in_flight, connections| Load {
        case,
        size,
        in_flight,
        connections,
    };
    let mut all = vec![
        load(Case::Null, 0, 1, 1),
        load(Case::Add, 0, 1, 1),
        load(Case::BigIn, LRPC, 1, 1),
        load(Case::BigInOut, LRPC, 1, 1),
    ];
    all.extend(SIZES.map(|size| load(Case::Echo, size, 1, 1)));
    all.push(load(Case::EchoBytes, MIB, 1, 1));
    all.extend(SIZES.map(|size| load(Case::Sum, size, 1, 1)));
    all.extend(
        IN_FLIGHT[1..]
            .iter()
            .map(|&many| load(Case::Echo, SMALL, many, 1)),
    );
    all.push(load(Case::Echo, SMALL, 1, 8));
    all.push(load(Case::Post, SMALL, 1, 1));
    all.push(load(Case::After1Ms, SMALL, 1, 1));
    all.push(load(Case::After10Ms, SMALL, 1, 1));
    all.push(load(Case::Beside, MIB, 1, 1));
    all.push(load(Case::Beside, 64 * MIB, 1, 1));
    all.push(load(Case::Idle, SMALL, 1, 1));
    all.push(load(Case::Idle, SMALL, 1, MANY));
    all
}

/// Where an offer is measured: everywhere where it matters, else as the scheduler will.
pub(crate) fn placements(offer: &Offer, processors: usize, quick: bool) -> Vec<Placement> {
    let (load, variant) = (&offer.load, &offer.variant);
    let alone = load.in_flight == 1 && load.connections == 1;
    let small = load.size == SMALL;
    let secondary = SECONDARY.contains(&variant.transport.as_str());
    let shown_anywhere = match load.case {
        Case::Echo if secondary && quick => alone && matches!(load.size, SMALL | MIB),
        Case::Echo | Case::Post | Case::Idle if secondary => true,
        // What streams do with large bodies.
        Case::Beside | Case::Sum if secondary => !quick && variant.transport != "mem",
        _ if secondary => false,
        // Between the ring that looks and the one that sleeps as a server must.
        _ if quick && matches!(variant.transport.as_str(), "aware" | "futex") => {
            small && alone && matches!(load.case, Case::Echo | Case::After10Ms)
        }
        // Bodies of this size take seconds, and bear out what those of 1 MiB say.
        Case::Beside | Case::Sum if quick => load.size <= MIB,
        _ => true,
    };
    // Which runtime serves best shows in a small call; in a quick run, one of each kind is enough for the rest.
    let shown_mode = !quick
        || match variant.mode {
            Mode::MULTI => load.case == Case::Echo && small,
            Mode::BLOCKING_CURRENT => false,
            _ => true,
        };
    if !shown_anywhere || !shown_mode {
        return Vec::new();
    }
    let everywhere = match load.case {
        Case::Echo if small && alone => true,
        // Of the cases with many calls, one shows what a placement does to them.
        Case::Echo if small && load.in_flight == 64 => !secondary && !quick,
        Case::After10Ms => true,
        _ => false,
    };
    let alike = variant.in_process || (quick && secondary);
    let in_turn = match everywhere && !alike {
        true => vec![Placement::Same, Placement::Split, Placement::Free],
        false => vec![Placement::Free],
    };
    in_turn
        .into_iter()
        .filter(|&placement| placement != Placement::Split || (processors > 1 && !quick))
        .collect()
}

/// What `--only` is compared with, and by which the tables pick their rows.
pub(crate) fn words(offer: &Offer, placement: Placement) -> String {
    let (load, variant) = (&offer.load, &offer.variant);
    format!(
        "case={} size={} in_flight={} connections={} placement={placement} system={} transport={} mode={}",
        load.case,
        load.size,
        load.in_flight,
        load.connections,
        variant.system,
        variant.transport,
        variant.mode
    )
}

/// Whether `words` has each word of `pattern`: with `=` that very word ("case=echo" is not "case=echo_bytes"), without
/// it anywhere.
pub(crate) fn matches(pattern: &str, words: &str) -> bool {
    pattern.split_whitespace().all(|word| match word.split_once('=') {
        // One of several: "case=null,add".
        Some((name, values)) => words.split(' ').any(|other| {
            other
                .split_once('=')
                .is_some_and(|(key, value)| key == name && values.split(',').any(|wanted| wanted == value))
        }),
        None => words.contains(word),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_whole_words_or_parts() {
        let words = "case=echo_bytes size=32 system=raw transport=unix";
        assert!(matches("size=32 transport=unix", words));
        assert!(matches("echo", words));
        assert!(matches("size=1,32", words));
        assert!(!matches("case=echo", words));
        assert!(!matches("size=3", words));
        assert!(matches("", words));
    }
}
