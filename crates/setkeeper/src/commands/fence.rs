//! `fence`: whether a token still counts.

use serde::Serialize;
use zk::Token;

use super::connect;
use super::lock::failed;
use crate::cli::{Fence, Output};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{self, Printed};

#[derive(Debug, Serialize)]
struct Checked {
    key: String,
    token: String,
    holds: bool,
}

impl Printed for Checked {
    fn text(&self) -> String {
        let verb = if self.holds { "is" } else { "is not" };
        format!("{} {verb} that of the present holder at {}", self.token, self.key)
    }
}

/// `setkeeper fence check`. Whatever it says is true of a moment that is past; only what checks the token together with
/// its own effect, as a database can, is safe.
pub(super) async fn fence(config: &Config, output: Output, fence: &Fence) -> Result<Exit, Failure> {
    let Fence::Check { token, key } = fence;
    let parsed: Token = token.parse().map_err(|error| Failure::of(Exit::Usage, &error))?;
    let session = connect(config).await?;
    let holds = session.is_held(key, parsed).await.map_err(|error| failed(&error))?;
    output::print(output, &Checked { key: key.clone(), token: token.clone(), holds });
    Ok(if holds { Exit::Done } else { Exit::Lost })
}
