//! Feeds under strain: more connections than a hospital has, and kills at a moment that is known.

mod between;
mod crowd;
