//! What the kernel lets programs do to packets, asked of the program that netd itself asks.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};

use super::{LONGEST, Packet, context};

/// Wraps a frame and unwraps it again; 0 when nothing failed. Its first control word is not 0 when the
/// outer header is to be one of IPv6.
const PROGRAM: &str = "carrier_probe";

/// Runs the probe on a frame of each family in each.
pub(super) fn is_possible(ebpf: &mut Ebpf) -> Result<bool> {
    let program = ebpf.program_mut(PROGRAM).context(PROGRAM)?;
    let program: &mut SchedClassifier = program.try_into()?;
    program.load().with_context(|| format!("load {PROGRAM}"))?;
    for kind in [[0x08, 0x00, 0x45], [0x86, 0xdd, 0x60]] {
        let mut frame = vec![0; 110];
        frame[12..15].copy_from_slice(&kind);
        for is_over_v6 in [0, 1] {
            let packet = Packet {
                origin: [is_over_v6, 0],
                ..Packet::default()
            };
            let mut after = vec![0; LONGEST];
            let options = TestRunOptions {
                data_in: Some(&frame),
                data_out: Some(&mut after),
                ctx_in: Some(&context(&packet)),
                ..TestRunOptions::new()
            };
            let result = program
                .test_run(options)
                .with_context(|| format!("run {PROGRAM}"))?;
            if result.return_value != 0 {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
