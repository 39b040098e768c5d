"""What a server withstands: strangers' requests, floods, hostile pictures, and kills at random moments."""
