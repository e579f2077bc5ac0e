//! How much memory media may take: a sum with named terms.
