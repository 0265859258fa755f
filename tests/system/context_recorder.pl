#!/usr/bin/perl
#
# context_recorder.pl SOCKET FILE
#	  What "docker build" sends as its context: an engine that answers just
#	  enough at SOCKET for the classic builder's client, and writes each
#	  context to FILE.  Prints a line when it listens.
use strict;
use warnings;
use IO::Socket::UNIX;

my ($socket, $file) = @ARGV;
my $listener = IO::Socket::UNIX->new(Local => $socket, Listen => 16) or die "context_recorder.pl: could not listen: $!\n";
$| = 1;
print "listening\n";

sub read_chunks
{
	my $client = shift;
	open(my $out, '>:raw', "$file.part") or die "context_recorder.pl: could not write: $!\n";
	while (defined(my $line = <$client>)) {
		my $size = hex($line =~ s/[;\r\n].*//sr);
		read($client, my $bytes, $size + 2);
		last if $size == 0;
		print $out substr($bytes, 0, $size);
	}
	close $out;
	rename("$file.part", $file);
}

while (my $client = $listener->accept) {
	binmode($client);
	while (defined(my $request = <$client>)) {
		my $chunked = 0;
		while (defined(my $line = <$client>)) {
			last if $line =~ /^\r?$/;
			$chunked = 1 if $line =~ /^transfer-encoding:\s*chunked/i;
		}
		read_chunks($client) if $chunked;
		my $body = $request =~ m{/build} ? qq({"stream":"recorded"}\n) : 'OK';
		print $client "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nOstype: linux\r\nBuilder-Version: 1\r\nContent-Length: ", length $body, "\r\n\r\n";
		print $client $body unless $request =~ /^HEAD/;
		$client->flush;
		last if $request =~ m{/build};
	}
	close $client;
}
