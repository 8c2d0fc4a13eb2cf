"""What users test their programs with."""
