//! Fresh databases for tests. Behind the feature `testing`; never in the product.
