"""What an agent holds: requested, granted, renewed, believed in, lost or given back; of a lock or of a pool alike."""
