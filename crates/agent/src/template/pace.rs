//! When the file of one template is written and its reader told. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// What the newest rendering came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// What stands in the file.
    Same,
    /// Something else.
    Other(&'a str),
    /// Nothing: the last good file stays. With `again` it is tried again though nothing changes.
    Nothing { again: bool },
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Write what is wanted, then reload.
    Write,
    /// Reload.
    Reload,
    /// Nothing before that time, unless something changes.
    Until(Instant),
    /// Nothing, unless something changes.
    Rest,
}

/// What was done for one file, as far as it says when what may be done next.
#[derive(Debug)]
pub(super) struct Pace {
    min_interval: Duration,
    retry: Duration,
    /// The last try to write.
    written: Option<Instant>,
    /// A text that could not be put in place, and until when it is not tried again.
    refused: Option<(String, Instant)>,
    /// Until when a reload that failed is not tried again by itself.
    reload_from: Option<Instant>,
}

impl Pace {
    pub(super) fn new(min_interval: Duration, retry: Duration) -> Pace {
        Pace { min_interval, retry, written: None, refused: None, reload_from: None }
    }

    /// What to do now, if a reload is `owed` or not.
    pub(super) fn step(&self, wanted: Wanted<'_>, owed: bool, now: Instant) -> Step {
        let write = match wanted {
            Wanted::Other(text) => Some(self.write_from(text).unwrap_or(now)),
            Wanted::Same | Wanted::Nothing { .. } => None,
        };
        if write.is_some_and(|from| from <= now) {
            return Step::Write;
        }
        let reload = owed.then(|| self.reload_from.unwrap_or(now));
        if reload.is_some_and(|from| from <= now) {
            return Step::Reload;
        }
        let again = (wanted == Wanted::Nothing { again: true }).then(|| now + self.retry);
        [write, reload, again].into_iter().flatten().min().map_or(Step::Rest, Step::Until)
    }

    /// From when on this text may be written; `None` for at once.
    fn write_from(&self, text: &str) -> Option<Instant> {
        let after_last = self.written.map(|written| written + self.min_interval);
        let refused = self.refused.as_ref().filter(|(refused, _)| refused == text).map(|(_, until)| *until);
        after_last.max(refused)
    }

    /// Notes a text that was put in place.
    pub(super) fn wrote(&mut self, now: Instant) {
        (self.written, self.refused) = (Some(now), None);
    }

    /// Notes a text that could not be put in place.
    pub(super) fn refused(&mut self, text: String, now: Instant) {
        (self.written, self.refused) = (Some(now), Some((text, now + self.retry)));
    }

    /// Notes how a reload ended.
    pub(super) fn reloaded(&mut self, well: bool, now: Instant) {
        self.reload_from = (!well).then(|| now + self.retry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What happens to a file that is written at most once in a second, with another try after ten.
    struct Story {
        pace: Pace,
        begun: Instant,
        owed: bool,
    }

    impl Story {
        fn new() -> Story {
            Story { pace: Pace::new(SECOND, SECOND * 10), begun: Instant::now(), owed: false }
        }

        /// `at` in tenths of a second.
        fn at(&self, tenths: u32) -> Instant {
            self.begun + SECOND / 10 * tenths
        }

        fn wants(&self, tenths: u32, wanted: Wanted<'_>) -> String {
            match self.pace.step(wanted, self.owed, self.at(tenths)) {
                Step::Write => "write".to_owned(),
                Step::Reload => "reload".to_owned(),
                Step::Rest => "rest".to_owned(),
                Step::Until(until) => format!("until {}", (until - self.begun).as_millis() / 100),
            }
        }
    }

    #[test]
    fn the_first_change_is_written_at_once_and_the_last_of_many_after_the_interval() {
        let mut story = Story::new();
        assert_eq!(story.wants(0, Wanted::Other("a")), "write");
        story.pace.wrote(story.at(0));
        assert_eq!(story.wants(1, Wanted::Other("b")), "until 10");
        assert_eq!(story.wants(9, Wanted::Other("c")), "until 10");
        assert_eq!(story.wants(10, Wanted::Other("c")), "write");
        story.pace.wrote(story.at(10));
        assert_eq!(story.wants(11, Wanted::Same), "rest");
    }

    #[test]
    fn a_text_that_was_refused_is_tried_again_after_a_pause_and_another_one_sooner() {
        let mut story = Story::new();
        story.pace.refused("bad".to_owned(), story.at(0));
        assert_eq!(story.wants(1, Wanted::Other("bad")), "until 100");
        assert_eq!(story.wants(1, Wanted::Other("better")), "until 10");
        assert_eq!(story.wants(10, Wanted::Other("better")), "write");
        assert_eq!(story.wants(100, Wanted::Other("bad")), "write");
    }

    #[test]
    fn a_reload_that_failed_is_tried_again_with_the_next_change_and_after_a_pause() {
        let mut story = Story::new();
        story.pace.wrote(story.at(0));
        story.owed = true;
        story.pace.reloaded(false, story.at(0));
        assert_eq!(story.wants(1, Wanted::Same), "until 100");
        assert_eq!(story.wants(20, Wanted::Other("b")), "write");
        assert_eq!(story.wants(100, Wanted::Same), "reload");
        story.owed = false;
        story.pace.reloaded(true, story.at(100));
        assert_eq!(story.wants(101, Wanted::Same), "rest");
    }

    #[test]
    fn a_reload_that_a_crash_left_owed_is_done_whatever_becomes_of_the_template() {
        let mut story = Story::new();
        story.owed = true;
        assert_eq!(story.wants(0, Wanted::Nothing { again: false }), "reload");
        story.pace.refused("bad".to_owned(), story.at(0));
        assert_eq!(story.wants(1, Wanted::Other("bad")), "reload");
    }

    #[test]
    fn a_fault_that_somebody_can_mend_without_zookeeper_is_looked_at_again() {
        let story = Story::new();
        assert_eq!(story.wants(0, Wanted::Nothing { again: true }), "until 100");
        assert_eq!(story.wants(0, Wanted::Nothing { again: false }), "rest");
    }
}
