//! The crate against real databases.

#[cfg(test)]
mod both;
#[cfg(test)]
mod place;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod sqlite;
