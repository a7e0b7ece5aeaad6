-- What a scheduler took and had not started when it died.

alter table book_schedule add column starting_since_us instant;
