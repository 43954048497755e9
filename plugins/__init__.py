"""The plugins that come with diffobj, one folder each."""
