//! A CA of our own, and a year in a moment.
