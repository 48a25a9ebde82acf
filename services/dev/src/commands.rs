//! The command line, and the commands that need more than a few lines.

pub mod cli;
pub mod prepare;
pub mod test;
