//! What algorithms are called.

use abi::Algorithm;

/// The name by which the topology and `ipvsadm` know an algorithm.
#[must_use]
pub const fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RoundRobin => "rr",
        Algorithm::SourceHash => "sh",
        Algorithm::Maglev => "mh",
        Algorithm::WeightedRoundRobin => "wrr",
        Algorithm::LeastConnection => "lc",
        Algorithm::WeightedLeastConnection => "wlc",
        Algorithm::Locality => "lblc",
        Algorithm::ReplicatedLocality => "lblcr",
        Algorithm::DestinationHash => "dh",
        Algorithm::ShortestDelay => "sed",
        Algorithm::NeverQueue => "nq",
        Algorithm::TwoChoices => "p2c",
    }
}
