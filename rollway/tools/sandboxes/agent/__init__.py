"""The program inside a local or bubblewrap sandbox: it runs commands, keeps files, and ends them all.

It stands alone. `bundle` puts these modules into one file, which the sandbox's own Python runs without
anything else of ours, so they import the standard library and each other and nothing more; and little of the
library at that, because every start of a sandbox waits for it.
"""
