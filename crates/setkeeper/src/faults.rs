//! Faults on purpose, for the crash tests: where a process dies, and ways to be wrong. Not in a released binary.

use applier::Broken;

use crate::config::Config;

/// Reads `SETKEEPER_FAIL` (`applier:after_commit:0.1,watcher:before_tree_saved:0.2`) and `SETKEEPER_BROKEN`
/// (`no_dedupe`) into the configuration.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn ask_for(config: &mut Config) -> Result<(), String> {
    if let Ok(points) = std::env::var("SETKEEPER_FAIL") {
        for point in points.split(',').filter(|point| !point.is_empty()) {
            fail(config, point)?;
        }
    }
    match std::env::var("SETKEEPER_BROKEN") {
        Ok(how) if !how.is_empty() => break_it(config, &how),
        _ => Ok(()),
    }
}

fn fail(config: &mut Config, text: &str) -> Result<(), String> {
    let odd = || format!("SETKEEPER_FAIL: `{text}` is not role:point:probability");
    let mut parts = text.split(':');
    let (Some(role), Some(point), Some(probability), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(odd());
    };
    let point = point.replace('_', "-");
    let probability: f64 = probability.parse().map_err(|_| odd())?;
    match role {
        "watcher" => {
            let point = point.parse().map_err(|_| odd())?;
            config.watcher.fail = Some(watcher::Fail { point, probability });
        }
        "applier" => {
            let at = point.parse().map_err(|_| odd())?;
            for target in &mut config.targets {
                target.applier.target.fail = Some(applier::Fail { at, probability });
            }
        }
        "auditor" => {
            let at = point.parse().map_err(|_| odd())?;
            config.audit.auditor.fail_point = Some((at, probability));
        }
        _ => return Err(odd()),
    }
    Ok(())
}

fn break_it(config: &mut Config, how: &str) -> Result<(), String> {
    let broken = match how {
        "position_after_commit" => Broken::PositionAfterCommit,
        "no_dedupe" => Broken::NoDedupe,
        "outbox_outside_transaction" => Broken::OutboxOutsideTransaction,
        "accept_old_fence" => Broken::AcceptOldFence,
        "computes_long" => Broken::ComputesLong,
        "no_node_is_delete" => {
            config.watcher.broken = Some(watcher::Broken::NoNodeIsDelete);
            return Ok(());
        }
        other => return Err(format!("SETKEEPER_BROKEN: `{other}` is no fault that is known")),
    };
    for target in &mut config.targets {
        target.applier.target.broken = Some(broken);
    }
    Ok(())
}
