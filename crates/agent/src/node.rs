//! One Superset node as a state machine: `step` takes what was seen and gives what to do; it does nothing itself.
//!
//! A node is registered while it is healthy and nobody wants it out: not drained, not being restarted, not ending.

use serde::{Deserialize, Serialize};

/// Until when a drained node stays out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Until somebody says so.
    Undrain,
    /// Until Superset has gone and come back.
    Restart,
}

/// What one look at Superset's `/health` gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It answers as it should.
    Up,
    /// Nothing listens there: Superset does not run.
    Gone(String),
    /// It does not answer in time, or says that it is not well.
    Sick(String),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Superset was looked at.
    Probed(Probe),
    /// The node is drained, or is so no longer.
    Drain(Option<Until>),
    /// The drain tells which process it waits for: what a look finds says nothing of that one's end.
    Watched,
    /// The Superset that was drained runs no longer: its process has ended, or the machine has been started anew.
    Ended,
    /// The registration is there no longer, and not by our doing.
    Unregistered,
    /// Our turn to restart Superset has come.
    RestartBegins,
    /// The restart is over, and Superset is back.
    Restarted,
    /// The restart is over, and Superset is not back; or it has not begun. The node comes back with the next good look.
    RestartFailed,
    /// The agent ends.
    Stop,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Put the node into the registry.
    Register,
    /// Take it out.
    Withdraw,
    /// Remove the drain, as what it waited for has come.
    Undrain,
}

/// How Superset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not looked at yet.
    Unknown,
    /// It answers.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// The node, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    health: Health,
    /// Looks in a row that failed.
    failed: u32,
    /// Why the newest of them did.
    why: Option<String>,
    drained: Option<Until>,
    /// Superset has been away since the node was drained.
    was_away: bool,
    /// It is known which process the drain waits for.
    watched: bool,
    restarting: bool,
    stopping: bool,
    registered: bool,
}

impl Default for Node {
    fn default() -> Node {
        Node {
            health: Health::Unknown,
            failed: 0,
            why: None,
            drained: None,
            was_away: false,
            watched: false,
            restarting: false,
            stopping: false,
            registered: false,
        }
    }
}

impl Node {
    /// What `input` makes of the node, and what is to be done then. `failures` is how many failed looks in a row make
    /// a node unhealthy.
    #[must_use]
    pub fn step(mut self, failures: u32, input: Input) -> (Node, Vec<Effect>) {
        let mut effects = Vec::new();
        match input {
            Input::Probed(probe) => self.probed(failures, probe),
            Input::Drain(drained) => {
                self.was_away = false;
                self.watched = false;
                self.drained = drained;
            }
            Input::Watched => self.watched = true,
            Input::Ended => self.was_away = true,
            // It comes back with the next good look at Superset, so that a quarrel over it is no storm.
            Input::Unregistered => {
                self.registered = false;
                return (self, effects);
            }
            Input::RestartBegins => self.restarting = true,
            Input::Restarted => {
                self.restarting = false;
                self.was_away = self.drained.is_some();
            }
            Input::RestartFailed if self.restarting => {
                self.restarting = false;
                // What was seen before tells nothing of what the restart has left.
                self.health = Health::Unknown;
            }
            Input::RestartFailed => {}
            Input::Stop => self.stopping = true,
        }
        // The newest look was a good one.
        let is_up = self.health == Health::Healthy && self.failed == 0;
        if self.drained == Some(Until::Restart) && self.was_away && is_up {
            self.drained = None;
            self.was_away = false;
            effects.push(Effect::Undrain);
        }
        let wanted = self.is_wanted();
        if wanted && !self.registered && is_up {
            self.registered = true;
            effects.push(Effect::Register);
        } else if !wanted && self.registered {
            self.registered = false;
            effects.push(Effect::Withdraw);
        }
        (self, effects)
    }

    fn probed(&mut self, failures: u32, probe: Probe) {
        let why = match probe {
            Probe::Up => {
                self.failed = 0;
                self.why = None;
                self.health = Health::Healthy;
                return;
            }
            Probe::Gone(why) => {
                // One look that failed may be a slow answer; nobody there to answer is no such thing.
                self.was_away |= self.drained.is_some() && !self.watched;
                why
            }
            Probe::Sick(why) => why,
        };
        self.failed = self.failed.saturating_add(1);
        self.why = Some(why);
        if self.failed >= failures {
            self.health = Health::Unhealthy;
            self.was_away |= self.drained.is_some() && !self.watched;
        }
    }

    fn is_wanted(&self) -> bool {
        self.health == Health::Healthy && self.drained.is_none() && !self.restarting && !self.stopping
    }

    /// How Superset is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Why the newest look at it failed.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Whether the registry has it, or is about to.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// Until when it is drained.
    #[must_use]
    pub fn drained(&self) -> Option<Until> {
        self.drained
    }

    /// Whether it is being restarted.
    #[must_use]
    pub fn is_restarting(&self) -> bool {
        self.restarting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs and the effects they have, in the words of `words`; three failed looks make a node unhealthy.
    fn check(steps: &[(&str, &[Effect])]) {
        let mut node = Node::default();
        for (n, (word, wanted)) in steps.iter().enumerate() {
            let input = match *word {
                "up" => Input::Probed(Probe::Up),
                "gone" => Input::Probed(Probe::Gone("connection refused".to_owned())),
                "sick" => Input::Probed(Probe::Sick("timed out".to_owned())),
                "drain" => Input::Drain(Some(Until::Undrain)),
                "drain until restart" => Input::Drain(Some(Until::Restart)),
                "undrain" => Input::Drain(None),
                "watched" => Input::Watched,
                "ended" => Input::Ended,
                "unregistered" => Input::Unregistered,
                "restart begins" => Input::RestartBegins,
                "restarted" => Input::Restarted,
                "restart failed" => Input::RestartFailed,
                "stop" => Input::Stop,
                other => panic!("no input is called {other}"),
            };
            let (next, effects) = node.step(3, input);
            assert_eq!(effects, *wanted, "step {n}: {word}");
            node = next;
        }
    }

    use Effect::{Register, Undrain, Withdraw};

    #[test]
    fn a_node_is_registered_once_it_is_healthy_and_out_after_so_many_failures() {
        check(&[
            ("gone", &[]),
            ("up", &[Register]),
            ("up", &[]),
            ("sick", &[]),
            ("gone", &[]),
            ("up", &[]),
            ("sick", &[]),
            ("sick", &[]),
            ("sick", &[Withdraw]),
            ("gone", &[]),
            ("up", &[Register]),
        ]);
    }

    #[test]
    fn a_drained_node_stays_out_until_somebody_says_so() {
        check(&[
            ("up", &[Register]),
            ("drain", &[Withdraw]),
            ("gone", &[]),
            ("gone", &[]),
            ("gone", &[]),
            ("up", &[]),
            ("undrain", &[Register]),
        ]);
    }

    #[test]
    fn a_node_that_is_drained_until_its_restart_comes_back_with_superset() {
        check(&[
            ("up", &[Register]),
            ("drain until restart", &[Withdraw]),
            ("up", &[]),
            ("sick", &[]),
            ("up", &[]),
            ("gone", &[]),
            ("up", &[Undrain, Register]),
        ]);
        let sick = ("sick", &[][..]);
        check(&[("drain until restart", &[]), sick, sick, sick, ("up", &[Undrain, Register])]);
    }

    #[test]
    fn what_was_before_the_drain_is_not_its_restart() {
        check(&[
            ("gone", &[]),
            ("up", &[Register]),
            ("drain until restart", &[Withdraw]),
            ("up", &[]),
            ("undrain", &[Register]),
            ("gone", &[]),
            ("drain until restart", &[Withdraw]),
            ("up", &[]),
        ]);
    }

    #[test]
    fn a_drain_from_before_the_machine_started_is_over_when_superset_is_there() {
        check(&[("drain until restart", &[]), ("ended", &[]), ("up", &[Undrain, Register])]);
    }

    #[test]
    fn a_drain_that_waits_for_a_process_is_over_once_that_has_ended_and_superset_answers() {
        let sick = ("sick", &[][..]);
        check(&[
            ("up", &[Register]),
            ("drain until restart", &[Withdraw]),
            ("watched", &[]),
            // The old one, while it gives its clients time.
            sick,
            sick,
            sick,
            ("up", &[]),
            // The new one listens before the next look.
            sick,
            ("ended", &[]),
            sick,
            ("up", &[Undrain, Register]),
        ]);
    }

    #[test]
    fn a_second_drain_does_not_end_with_what_the_first_waited_for() {
        check(&[
            ("up", &[Register]),
            ("drain until restart", &[Withdraw]),
            ("gone", &[]),
            ("drain until restart", &[]),
            ("up", &[]),
            ("gone", &[]),
            ("up", &[Undrain, Register]),
        ]);
    }

    #[test]
    fn a_node_is_out_while_it_restarts_however_healthy_it_looks() {
        check(&[
            ("up", &[Register]),
            ("restart begins", &[Withdraw]),
            ("up", &[]),
            ("gone", &[]),
            ("up", &[]),
            ("restarted", &[Register]),
        ]);
        check(&[
            ("up", &[Register]),
            ("restart begins", &[Withdraw]),
            ("sick", &[]),
            ("sick", &[]),
            ("sick", &[]),
            ("restart failed", &[]),
            ("up", &[Register]),
        ]);
    }

    #[test]
    fn a_node_whose_restart_failed_is_out_until_superset_was_seen_again() {
        check(&[
            ("up", &[Register]),
            ("restart begins", &[Withdraw]),
            ("up", &[]),
            ("restart failed", &[]),
            ("gone", &[]),
            ("undrain", &[]),
            ("up", &[Register]),
        ]);
        check(&[("up", &[Register]), ("restart failed", &[]), ("undrain", &[])]);
    }

    #[test]
    fn a_restart_of_ours_ends_a_drain_that_its_own_stop_has_asked_for() {
        check(&[
            ("up", &[Register]),
            ("restart begins", &[Withdraw]),
            ("drain until restart", &[]),
            ("up", &[]),
            ("restarted", &[Undrain, Register]),
        ]);
        check(&[
            ("restart begins", &[]),
            ("drain", &[]),
            ("up", &[]),
            ("restarted", &[]),
            ("undrain", &[Register]),
        ]);
    }

    #[test]
    fn a_registration_that_somebody_removed_comes_back_with_the_next_good_look() {
        check(&[("up", &[Register]), ("unregistered", &[]), ("sick", &[]), ("up", &[Register])]);
        check(&[
            ("up", &[Register]),
            ("unregistered", &[]),
            ("drain", &[]),
            ("up", &[]),
            ("undrain", &[Register]),
        ]);
    }

    #[test]
    fn an_agent_that_ends_takes_the_node_out_and_leaves_it_out() {
        check(&[("up", &[Register]), ("stop", &[Withdraw]), ("up", &[])]);
        check(&[("stop", &[]), ("up", &[])]);
    }
}
