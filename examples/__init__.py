"""Programs that use the library; each says at its top what it shows."""
