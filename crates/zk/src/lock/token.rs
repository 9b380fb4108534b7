//! A fence as a text that sorts as the fence does.

use std::fmt;
use std::str::FromStr;

use change::Fence;

/// A fence as text, `%010d-%020d` of generation and czxid: of two tokens of one environment the later is the greater
/// text, so that any database can compare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub Fence);

/// A text that is no [`Token`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no token; one looks like 0000000003-00000000000000012345")]
pub struct ParseTokenError(String);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{:020}", self.0.generation, self.0.czxid)
    }
}

impl FromStr for Token {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let parse = || {
            let (generation, czxid) = text.split_once('-')?;
            if generation.len() < 10 || czxid.len() != 20 || !digits(generation) || !digits(czxid) {
                return None;
            }
            Some(Token(Fence { generation: generation.parse().ok()?, czxid: czxid.parse().ok()? }))
        };
        parse().ok_or_else(|| ParseTokenError(text.escape_default().take(60).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_sort_as_texts_as_their_fences_do() {
        let fences = [(1, 9), (1, 10), (1, i64::MAX), (2, 0), (10, 5), (9_999_999_999, 1)];
        let tokens: Vec<Token> =
            fences.map(|(generation, czxid)| Token(Fence { generation, czxid })).into_iter().collect();
        let texts: Vec<String> = tokens.iter().map(ToString::to_string).collect();
        assert!(texts.is_sorted() && tokens.is_sorted());
        assert_eq!(texts[1], "0000000001-00000000000000000010");
        let read: Vec<Token> = texts.iter().map(|text| text.parse().expect("a token")).collect();
        assert_eq!(read, tokens);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let most = format!("0000000001-{}", "9".repeat(20));
        for bad in ["", "1-2", "0000000001-0000000000000000001x", "0000000001--0000000000000000001", &most] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }
}
