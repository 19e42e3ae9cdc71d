// Private endpoints of one resource: one for each of its groups, with their names in DNS.
import { endpointGroup, tagSet, zoneIdSet } from '../types.bicep'

@description('Name of the resource, with which the names of its endpoints begin.')
@minLength(1)
param name string

@description('Region of the network.')
param location string

@description('Tags.')
param tags tagSet

@description('Resource id of the subnet.')
param subnetId string

@description('Resource id of the target.')
param targetId string

@description('Resource ids of private DNS zones, by name.')
param zoneIds zoneIdSet

@description('Groups of the target.')
param groups endpointGroup[]

resource endpoints 'Microsoft.Network/privateEndpoints@2024-07-01' = [
  for group in groups: {
    name: 'pe-${name}-${group.groupId}'
    location: location
    tags: tags
    properties: {
      subnet: { id: subnetId }
      customNetworkInterfaceName: 'nic-${name}-${group.groupId}'
      privateLinkServiceConnections: [
        {
          name: group.groupId
          properties: {
            privateLinkServiceId: targetId
            groupIds: [group.groupId]
          }
        }
      ]
    }
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01' = [
  for (group, index) in groups: {
    parent: endpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        for zone in group.zones: {
          name: replace(zone, '.', '-')
          properties: { privateDnsZoneId: zoneIds[zone] }
        }
      ]
    }
  }
]
