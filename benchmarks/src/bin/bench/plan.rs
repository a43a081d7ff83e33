//! Which cases are measured, and where.

use bench_harness::{Case, Load, Offer, Placement};

/// Every load, in the order of the tables. Systems say themselves which of them they carry.
pub(crate) fn loads() -> Vec<Load> {
    let echo = |size, in_flight, connections| Load {
        case: Case::Echo,
        size,
        in_flight,
        connections,
    };
    let alone = |case, size| Load {
        case,
        size,
        in_flight: 1,
        connections: 1,
    };
    vec![
        echo(32, 1, 1),
        echo(32, 8, 1),
        echo(32, 64, 1),
        echo(32, 512, 1),
        echo(32, 1, 8),
        echo(4 << 10, 1, 1),
        echo(64 << 10, 1, 1),
        echo(1 << 20, 1, 1),
        alone(Case::EchoBytes, 1 << 20),
        alone(Case::Post, 32),
        alone(Case::Idle, 32),
    ]
}

/// Where an offer is measured. One process cannot be split, and where an idle one sits makes no difference.
pub(crate) fn placements(offer: &Offer, processors: usize) -> Vec<Placement> {
    match offer.load.case {
        Case::Idle => vec![Placement::Free],
        _ if offer.variant.in_process || processors < 2 => vec![Placement::Same, Placement::Free],
        _ => vec![Placement::Same, Placement::Split, Placement::Free],
    }
}

/// What `--only` is compared with.
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
