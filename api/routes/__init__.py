"""The endpoints; each module registers its own on the app's one router, so that matching stays a flat list."""
