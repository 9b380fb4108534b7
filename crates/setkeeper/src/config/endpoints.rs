//! `[endpoints]`: how registries are followed.

use agent::endpoints::Config;
use serde::Deserialize;

use super::mean::Reading;

/// As written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEndpoints {
    check_timeout: Option<String>,
    check_every: Option<String>,
    check_failures: Option<u32>,
    checks_in_flight: Option<usize>,
    instances_max: Option<usize>,
    endpoints_max: Option<usize>,
    ensembles_max: Option<usize>,
    retry: Option<String>,
}

impl Reading<'_> {
    pub(super) fn endpoints(&mut self, raw: &RawEndpoints) -> Config {
        let mut config = Config::default();
        self.durations([
            ("endpoints.check_timeout", &raw.check_timeout, &mut config.check.timeout),
            ("endpoints.check_every", &raw.check_every, &mut config.check.every),
            ("endpoints.retry", &raw.retry, &mut config.retry),
        ]);
        self.counts([("endpoints.check_failures", raw.check_failures, &mut config.check.failures)]);
        self.counts([
            ("endpoints.checks_in_flight", raw.checks_in_flight, &mut config.check.in_flight),
            ("endpoints.instances_max", raw.instances_max, &mut config.instances_max),
            ("endpoints.endpoints_max", raw.endpoints_max, &mut config.endpoints_max),
            ("endpoints.ensembles_max", raw.ensembles_max, &mut config.ensembles_max),
        ]);
        config
    }
}
