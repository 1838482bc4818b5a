//! Whether this kernel lets programs wrap packets themselves: shown on frames of each family in each.

use aya::Ebpf;
use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions};

const PROGRAM: &str = "carrier_probe";

/// `struct __sk_buff` as far as a test run needs it: up to and with the control words.
const CONTEXT: usize = 68;
/// Where the first control word is.
const CONTROL: usize = 48;

/// Runs the probe on every pair of families.
///
/// # Errors
/// What the kernel does not do, for the operator.
pub(super) fn prove(ebpf: &mut Ebpf) -> Result<(), String> {
    let unloaded = |error: ProgramError| format!("the kernel refuses {PROGRAM}: {error}");
    let program = ebpf.program_mut(PROGRAM).ok_or("it was built without")?;
    let program: &mut SchedClassifier = program.try_into().map_err(unloaded)?;
    program.load().map_err(unloaded)?;
    for (outer, is_over_v6) in [("IPv4", 0), ("IPv6", 1)] {
        for (inner, frame) in [("IPv4", frame_v4()), ("IPv6", frame_v6())] {
            let step = run(program, is_over_v6, &frame).map_err(|error| error.to_string())?;
            let what = match step {
                0 => continue,
                1 | 2 => "wrap",
                3 | 4 => "unwrap",
                _ => "keep",
            };
            return Err(format!(
                "the kernel does not let programs {what} {inner} in {outer} (step {step})"
            ));
        }
    }
    Ok(())
}

/// The step that failed, or 0.
fn run(program: &SchedClassifier, is_over_v6: u32, frame: &[u8]) -> Result<u32, ProgramError> {
    let mut context = [0; CONTEXT];
    context[CONTROL..CONTROL + 4].copy_from_slice(&is_over_v6.to_ne_bytes());
    let mut after = vec![0; frame.len() + 128];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut after),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let result = program.test_run(options)?;
    // The Ethernet header is for whoever unwraps to write.
    let is_whole = usize::try_from(result.data_size_out).is_ok_and(|size| size == frame.len())
        && after.get(14..frame.len()) == frame.get(14..);
    Ok(if result.return_value == 0 && !is_whole {
        5
    } else {
        result.return_value
    })
}

const PAYLOAD: [u8; 32] = [0x5a; 32];

/// A UDP datagram from 192.0.2.1 to 192.0.2.2. Nobody looks at its checksums.
fn frame_v4() -> Vec<u8> {
    let mut frame = ethernet([0x08, 0x00]);
    frame.extend([0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    datagram(frame)
}

/// A UDP datagram from 2001:db8::1 to itself.
fn frame_v6() -> Vec<u8> {
    let address = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut frame = ethernet([0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0, 0, 40, 17, 64]);
    frame.extend(address);
    frame.extend(address);
    datagram(frame)
}

fn ethernet(kind: [u8; 2]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(kind);
    frame
}

fn datagram(mut frame: Vec<u8>) -> Vec<u8> {
    frame.extend([0xc0, 0, 0x12, 0xb5, 0, 40, 0, 0]);
    frame.extend(PAYLOAD);
    frame
}
