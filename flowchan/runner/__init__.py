"""The server of deployments: it hears what is asked for, and has each run executed by a process of its own."""
