//! The demo: three nodes, real servers, real clients, told to somebody who sees it for the first
//! time. Every answer is checked; a demo that shows something wrong fails.

mod narrator;
mod scenes;

use anyhow::{Result, bail};
use integration::lab::topology::Topology;
use integration::lab::{Lab, Spec, demo};

use self::narrator::Narrator;

/// What every scene has at hand.
struct Stage {
    lab: Lab,
    topology: Topology,
    narrator: Narrator,
}

/// Builds the lab, plays all scenes, takes the lab down.
///
/// # Errors
/// When the lab cannot be made or any answer was not what it should have been.
pub(crate) fn run() -> Result<()> {
    let mut narrator = Narrator::new();
    scenes::prologue(&mut narrator)?;
    let lab = demo::up(Spec::new(&Spec::unique_name("demo"), 3))?;
    let topology = demo::topology(&lab);
    let mut stage = Stage {
        lab,
        topology,
        narrator,
    };
    scenes::play(&mut stage)?;
    let Stage {
        lab, mut narrator, ..
    } = stage;
    narrator.section("Going home")?;
    let result = lab.down();
    narrator.check(
        "the lab is gone: no namespace, device, pin or process is left",
        || result,
    )?;
    let (wrong, checks) = narrator.outcome();
    narrator.say(&format!("\n{checks} things checked, {wrong} wrong."))?;
    if wrong > 0 {
        bail!("{wrong} of {checks} answers were not what they should have been");
    }
    Ok(())
}
