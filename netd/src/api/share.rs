//! What part of new flows each backend is due.

use std::collections::BTreeMap;

use model::{Algorithm, Backend, BackendId, BackendState, Frontend, Topology};

/// Per cent of the new flows of a frontend, by backend.
pub(super) struct Shares(BTreeMap<BackendId, f64>);

impl Shares {
    /// Of frontends that share no backend unless they are balanced alike.
    pub(super) fn of(topology: &Topology, frontends: &[&Frontend]) -> Self {
        let mut shares = BTreeMap::new();
        for frontend in frontends {
            let backends: Vec<_> = frontend
                .backends
                .iter()
                .map(|id| (*id, &topology.backends[id]))
                .collect();
            shares.extend(divide(frontend.balancing.algorithm, &backends));
        }
        Self(shares)
    }

    /// Of one backend.
    pub(super) fn one(&self, id: BackendId) -> f64 {
        self.0.get(&id).copied().unwrap_or_default()
    }
}

/// Backends that drain get something only when nobody else may.
fn divide(
    algorithm: Algorithm,
    backends: &[(BackendId, &Backend)],
) -> impl Iterator<Item = (BackendId, f64)> {
    let takes = |backend: &Backend, state| backend.weight > 0 && backend.state == state;
    let is_left = backends
        .iter()
        .any(|(_, backend)| takes(backend, BackendState::Ready));
    let state = if is_left {
        BackendState::Ready
    } else {
        BackendState::Draining
    };
    let part = move |backend: &Backend| match (takes(backend, state), algorithm.weighs()) {
        (false, _) => 0.0,
        (true, false) => 1.0,
        (true, true) => f64::from(backend.weight),
    };
    let whole: f64 = backends.iter().map(|(_, backend)| part(backend)).sum();
    backends.iter().map(move |(id, backend)| {
        let share = if whole > 0.0 {
            100.0 * part(backend) / whole
        } else {
            0.0
        };
        (*id, share)
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn backend(weight: u16, state: BackendState) -> Backend {
        Backend {
            service: "web".parse().unwrap(),
            endpoint: "web-1".parse().unwrap(),
            kind: model::BackendKind::Vip,
            address: "10.0.1.11".parse().unwrap(),
            port: None,
            weight,
            state,
        }
    }

    fn shares(algorithm: Algorithm, backends: &[Backend]) -> Vec<f64> {
        let ids = (1..).filter_map(NonZeroU32::new).map(BackendId);
        let backends: Vec<_> = ids.zip(backends).collect();
        divide(algorithm, &backends)
            .map(|(_, share)| share)
            .collect()
    }

    #[test]
    fn weights_are_shares_where_the_algorithm_weighs() {
        let ready = |weight| backend(weight, BackendState::Ready);
        let backends = [ready(1), ready(3), ready(0)];
        assert_eq!(shares(Algorithm::Wrr, &backends), [25.0, 75.0, 0.0]);
        assert_eq!(shares(Algorithm::Lc, &backends), [50.0, 50.0, 0.0]);
    }

    #[test]
    fn draining_backends_get_something_when_nobody_else_may() {
        let (ready, draining) = (BackendState::Ready, BackendState::Draining);
        let left = [backend(1, draining), backend(1, ready)];
        assert_eq!(shares(Algorithm::Rr, &left), [0.0, 100.0]);
        let alone = [backend(1, draining), backend(0, ready)];
        assert_eq!(shares(Algorithm::Rr, &alone), [100.0, 0.0]);
    }
}
