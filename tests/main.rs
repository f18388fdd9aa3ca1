//! The test suite: one binary, each module a category.
