//! The algorithms that look at loads, from their descriptions in IPVS.

const CONNECTIONS: u32 = 5;
const DELAY: u32 = 10;
const NEVER_QUEUE: u32 = 11;

/// A backend as the balancer sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) id: u32,
    pub(super) weight: u64,
    pub(super) load: u64,
}

/// The first of those with the least quotient.
fn least(all: &[Candidate], cost: impl Fn(&Candidate) -> (u64, u64)) -> Candidate {
    let mut best = all[0];
    for one in &all[1..] {
        let ((a, b), (c, d)) = (cost(one), cost(&best));
        if a * d < c * b {
            best = *one;
        }
    }
    best
}

fn by_weight(all: &[Candidate]) -> Candidate {
    least(all, |one| (one.load, one.weight))
}

pub(super) fn best(algorithm: u32, all: &[Candidate]) -> u32 {
    let delay = |all: &[Candidate]| least(all, |one| (one.load + 1, one.weight)).id;
    match algorithm {
        CONNECTIONS => least(all, |one| (one.load, 1)).id,
        DELAY => delay(all),
        NEVER_QUEUE => {
            let idle = all.iter().find(|one| one.load == 0);
            idle.map_or_else(|| delay(all), |one| one.id)
        }
        _ => by_weight(all).id,
    }
}

/// The backend for a destination that leads to `known`, and what it leads to henceforth.
pub(super) fn by_destination(known: &mut [u32; 8], all: &[Candidate], replicated: bool) -> u32 {
    let members: Vec<Candidate> = all
        .iter()
        .copied()
        .filter(|one| known.contains(&one.id))
        .collect();
    let best = by_weight(all).id;
    let is_roomy = all.iter().any(|one| one.load * 2 < one.weight);
    if members.is_empty() && !replicated {
        known[0] = best;
        return best;
    }
    if !members.is_empty() {
        let chosen = by_weight(&members);
        if chosen.load <= chosen.weight || !is_roomy {
            return chosen.id;
        }
    }
    let most = members.iter().copied().reduce(|most, one| {
        if most.load * one.weight < one.load * most.weight {
            one
        } else {
            most
        }
    });
    let place = |id| known.iter().position(|other| *other == id);
    let at = match (replicated, place(best), place(0), most) {
        (false, ..) => 0,
        (true, Some(at), ..) | (true, None, Some(at), _) => at,
        (true, None, None, Some(most)) => place(most.id).unwrap(),
        (true, None, None, None) => 0,
    };
    known[at] = best;
    best
}
