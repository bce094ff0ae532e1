"""The paper as a command: networks trained in pairs, their spectra followed, its claims held against them."""
