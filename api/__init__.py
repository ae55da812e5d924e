"""The HTTP side: takes events in, answers after the commit, shows what became of them."""
