"""The HTTP edge: settings, wiring, routes, replies. Nothing below it knows HTTP towards clients."""
